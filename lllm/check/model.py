"""The tests of a composition, by name, and their run over several draws of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lllm.check import Failure, NotTested, Verdict, cached, costs, dependence, forms, likelihood, objective
from lllm.check.lint import lint
from lllm.check.probing import probing
from lllm.check.subject import Subject
from lllm.errors import UserError
from lllm.model import Composition
from lllm.registry import Registry

__all__ = ["ALGEBRA", "SEEDS", "TESTS", "Test", "check_composition", "describe"]

Test = Callable[[Subject], Verdict]

SEEDS = range(5)

ALGEBRA: Mapping[str, Test] = {
    "LINT": lint,
    "T-JAC": dependence.jacobian,
    "T-FRESH": dependence.freshness,
    "T-NORM": likelihood.normalisation,
    "T-PAD": likelihood.padding,
    "T-COND": likelihood.conditional_sampling,
    "T-SLOT": likelihood.slots,
    "OBJECTIVE": objective.objective,
    "T-GEN": cached.generation,
    "T-FORK": cached.forking,
    "FORM": forms.steps,
    "GATHER": forms.gathering,
    "FFN": forms.positions,
    "COST": costs.cost,
    "NOISE": costs.noise,
}
TESTS: Mapping[str, Test] = {**ALGEBRA, "PROBE": probing}
"""Each: (composition, seed) -> None, why it fails, or why it does not apply. What a leak escapes in one test it meets
in another; none is redundant (see the negative controls)."""


def check_composition(
    registry: Registry,
    choice: Composition,
    where: str | None = None,
    seeds: Iterable[int] = SEEDS,
    notes: set[str] | None = None,
    tests: Mapping[str, Test] = ALGEBRA,
) -> list[Failure]:
    """Each of the tests under every seed; the first failure of each. `notes` collects the tests that do not apply."""
    found: dict[str, Failure] = {}
    for seed in seeds:
        subject = Subject(registry, choice, seed)
        for name, test in tests.items():
            why = None if name in found else _run(test, subject)
            if isinstance(why, NotTested):
                if notes is not None:
                    notes.add(f"{name} ({why.why})")
            elif why is not None:
                found[name] = Failure(where or describe(choice), name, why, seed)
    return list(found.values())


def describe(choice: Composition) -> str:
    """A composition in one line: its parts, with the options that are not defaults, and the ratio."""
    names = []
    for spec in choice.parts.values():
        options = ", ".join(f"{key}={value}" for key, value in spec.delta().items() if key != "use")
        names.append(f"{spec.name}({options})" if options else spec.name)
    return f"{' '.join(names)} at {choice.ratio}:1"


def _run(test: Test, subject: Subject) -> Verdict:
    try:
        return test(subject)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 - a stranger's part may raise anything, and that is its failure
        return f"{type(error).__name__}: {error}"
