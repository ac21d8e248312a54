"""The suite of each kind: registering a part is testing it.

A kind brings its suite by the attribute `conformance` of its contract class, a function (registry, entry) -> failures;
those of the platform's own kinds stand here. A kind without one is checked for its declarations only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lllm.check import Failure, data, train
from lllm.check.adapters import adapter
from lllm.check.compositions import RATIOS, alone, asked, cover, everything, minimal, options
from lllm.check.launchers import launcher
from lllm.check.model import ALGEBRA, SEEDS, TESTS, Test, check_composition, describe
from lllm.check.training import learns
from lllm.errors import UserError
from lllm.model import Composition
from lllm.model.contracts import ModelPart
from lllm.model.simplest import example
from lllm.registry import Entry, Registry

__all__ = ["Checker", "Outcome", "Suite"]

Suite = Callable[[Registry, Entry], Iterable[Failure]]

_FIRST = (4, 2, 3, 1, 5, 6, 7, 8)  # the ratio of the thorough check is the first of these at which the part runs
_TRAINED = ("embedding", "downsampler", "head")  # kinds that must learn what anybody can predict
_LEARNS: Mapping[str, Test] = {"LEARNS": lambda subject: learns(subject.registry, subject.choice)}


@dataclass(frozen=True)
class Outcome:
    """What one part or composition gave, how long it took, and the tests that could not be put to it."""

    where: str
    failures: list[Failure]
    seconds: float
    notes: list[str] = field(default_factory=list)


class Checker:
    """Checks parts and compositions of one registry, each composition once under each draw of the weights: the simplest
    composition is that of many parts."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.done: Callable[[float], object] = lambda share: None  # told which share of a part is checked
        self._known: dict[tuple[object, ...], tuple[list[Failure], set[str]]] = {}
        self._said: set[str] = set()  # notes of what is being checked

    def part(self, entry: Entry) -> Outcome:
        """A part's declarations and the suite of its kind."""
        return self._outcome(
            f"{entry.kind}/{entry.name}", lambda: [*_declarations(self.registry, entry), *self._guarded(entry)]
        )

    def covering(self, *, full: bool = False) -> Iterator[Outcome]:
        """The covering set of all model parts under two draws of the weights, or the full product under one; and what
        every experiment asks about."""
        choices: Iterable[Composition] = everything(self.registry) if full else cover(self.registry)
        seeds = SEEDS[:1] if full else SEEDS[:2]
        for choice in choices:
            yield self._outcome(describe(choice), partial(self.composition, choice, seeds))
        for where, choice in asked(self.registry):
            yield self._outcome(where, partial(self.composition, choice, seeds))

    def composition(
        self, choice: Composition, seeds: Sequence[int], tests: Mapping[str, Test] = TESTS
    ) -> list[Failure]:
        """`check_composition`, remembered."""
        key = (describe(choice), *seeds, *tests)
        if key not in self._known:
            notes = set[str]()
            found = check_composition(self.registry, choice, seeds=seeds, notes=notes, tests=tests)
            self._known[key] = found, notes
        failures, notes = self._known[key]
        self._said |= notes
        return failures

    def _outcome(self, where: str, run: Callable[[], list[Failure]]) -> Outcome:
        self._said, start = set(), time.perf_counter()
        failures = run()
        return Outcome(where, failures, time.perf_counter() - start, sorted(self._said))

    def _guarded(self, entry: Entry) -> Iterator[Failure]:
        """The failures of the suite of a part's kind; what a part raises outside of any test is one, too."""
        where = f"{entry.kind}/{entry.name}"
        try:
            if entry.cls.conformance is not None:
                yield from entry.cls.conformance(self.registry, entry)
            elif issubclass(entry.cls, ModelPart):
                yield from self._model_part(entry)
            elif entry.kind in _SUITES:
                yield from _SUITES[entry.kind](self.registry, entry)
        except UserError as error:
            yield Failure(where, "builds", f"{error}; a part that needs options gives them by its method examples()")
        except Exception as error:  # noqa: BLE001 - a stranger's part may raise anything, and that is its failure
            yield Failure(where, "runs", f"{type(error).__name__}: {error}")

    def _model_part(self, entry: Entry) -> Iterator[Failure]:
        """The part in a minimal composition at one ratio under five draws of the weights, at every other under one, and
        with its options turned; some kinds must learn, too."""
        choices = minimal(self.registry, example(self.registry, entry))
        if not choices:
            where = f"{entry.kind}/{entry.name}"
            yield Failure(where, "fits", "no composition at any ratio takes this part; see what `compose` refuses")
            return
        first = next(ratio for ratio in _FIRST if ratio in choices)
        asked: list[tuple[Composition, Sequence[int], Mapping[str, Test]]] = [
            (choice, *((SEEDS, TESTS) if ratio == first else (SEEDS[:1], ALGEBRA))) for ratio, choice in choices.items()
        ]
        ratios = [ratio for ratio in (first, *RATIOS) if ratio in choices]
        asked += [(choice, SEEDS[:2], TESTS) for choice in options(self.registry, entry, ratios)]
        for done, composition in enumerate(asked, start=1):
            yield from self.composition(*composition)
            self.done(done / len(asked))
        if entry.kind in _TRAINED:
            yield from self.composition(choices[first], SEEDS[:1], _LEARNS)


def _plain(run: Callable[[Callable[[], Any]], Iterator[tuple[str, str]]]) -> Suite:
    """A suite for parts that are examined by themselves, as many as it makes under each of their examples."""

    def suite(registry: Registry, entry: Entry) -> Iterator[Failure]:
        for index in range(len(entry.cls.examples())):
            spec = example(registry, entry, index)
            for test, why in run(lambda spec=spec: alone(registry).of(spec)):  # type: ignore[misc]
                yield Failure(f"{entry.kind}/{entry.name}", test, why)

    return suite


def _adapter(registry: Registry, entry: Entry) -> Iterable[Failure]:
    """An adapter needs a model to change."""
    return _plain(partial(adapter, registry))(registry, entry)


_SUITES: Mapping[str, Suite] = {
    "tokenizer": _plain(data.tokenizer),
    "corpus": _plain(data.corpus),
    "objective": _plain(train.objective),
    "schedule": _plain(train.schedule),
    "optimizer": _plain(train.optimizer),
    "launcher": _plain(launcher),
    "adapter": _adapter,
}


def _declarations(registry: Registry, entry: Entry) -> Iterator[Failure]:
    """What is asked of every part: it says what it is, and its examples are valid."""
    where = f"{entry.kind}/{entry.name}"
    if not entry.summary:
        yield Failure(where, "declares", "the class has no docstring; its first line is what `lllm list` shows")
    if entry.cls.Config.model_fields and not entry.cls.Config.__doc__:
        yield Failure(where, "declares", "Config has no docstring that says what its options mean")
    if (entry.kind, entry.name) in registry.conflicts:
        yield Failure(where, "declares", "registered twice with different content")
