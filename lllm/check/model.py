"""The tests of a composition, by name, and their run over several draws of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from lllm.check import cached, costs, forms, gradients, likelihood, nats, objective
from lllm.check.lint import lint
from lllm.check.probing import probing
from lllm.check.result import Failure, NotTested, Verdict
from lllm.check.subject import Subject
from lllm.errors import UserError
from lllm.model import Composition
from lllm.registry import Registry

__all__ = ["ALGEBRA", "SEEDS", "TESTS", "Test", "check_composition", "describe", "examine"]

Test = Callable[[Subject], Verdict]

SEEDS = range(5)

ALGEBRA: Mapping[str, Test] = {
    "LINT": lint,
    "T-JAC": gradients.jacobian,
    "T-FRESH": gradients.freshness,
    "T-NORM": likelihood.normalisation,
    "T-PAD": likelihood.padding,
    "T-COND": likelihood.conditional_sampling,
    "T-SLOT": nats.slots,
    "OBJECTIVE": objective.objective,
    "T-GEN": cached.generation,
    "T-FORK": cached.forking,
    "FORM": forms.forms,
    "GATHER": forms.gathering,
    "WANTED": forms.leaving,
    "FFN": forms.positions,
    "COST": costs.cost,
    "SAME": costs.determinism,
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
    where = where or describe(choice)
    return examine((Subject(registry, choice, seed) for seed in seeds), where, notes, tests)


def examine(
    subjects: Iterable[Subject], where: str, notes: set[str] | None = None, tests: Mapping[str, Test] = ALGEBRA
) -> list[Failure]:
    """As `check_composition`, for subjects of any origin."""
    found: dict[str, Failure] = {}
    for subject in subjects:
        for name, test in tests.items():
            if name in found:
                continue
            why = _run(test, subject)
            if isinstance(why, NotTested):
                if notes is not None:
                    notes.add(f"{name} ({why.why})")
                continue
            if why is not None:
                found[name] = Failure(where, name, why, subject.seed)
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
