"""The rows of a table and the table itself, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lllm.results.rule import Rule

__all__ = [
    "NUMBERS",
    "WORDS",
    "Comparison",
    "Effect",
    "Effects",
    "FamilyFacts",
    "Interval",
    "Row",
    "Verdict",
    "Word",
]

NUMBERS = (
    "bpb_text",
    "nats_per_byte",
    "parameters",
    "train_flops_per_byte",
    "train_flops",
    "train_bytes",
    "seconds",
    "bytes_per_second",
    "generation_bytes_per_second",
    "bytes_per_row",
    "overlap",
)


Word = Literal[
    "", "baseline", "better", "worse", "inconclusive", "unstable", "not comparable", "not causal", "not probed", "none"
]
WORDS: tuple[Word, ...] = get_args(Word)[2:]  # of a comparison, in the order in which pages tell them


@dataclass(frozen=True)
class Verdict:
    """word: the verdict itself, 'none' where there is none; text: with its reason and its terms, for the table."""

    text: str
    word: Word = ""

    @property
    def decided(self) -> bool:
        """Whether it says that the row differs from the baseline."""
        return self.word in ("better", "worse")


@dataclass(frozen=True)
class Interval:
    """A row minus the baseline, in the metric's units. None: not known.

    n: seeds that both have (of the row, where runs are unpaired);
    half: half width of the interval that decides, over other seeds and other documents: the root of the sum of squares
    of the next two;
    seeds_half: over other seeds (`statistics.family`), error its standard error, and p the least 1 - level at which it
    excludes 0;
    documents_half: over other documents (`statistics.ratio`); documents: how many there were, where these were too few
    for an interval, or one of them too large."""

    difference: float
    n: int
    half: float | None = None
    seeds_half: float | None = None
    error: float | None = None
    p: float | None = None
    documents_half: float | None = None
    documents: int | None = None


@dataclass(frozen=True)
class FamilyFacts:
    """What the intervals of a table rest on.

    sd: standard deviation of a run around its row and seed under one variance, with df degrees of freedom;
    level: of the intervals, which hold for so many comparisons at once; rows: with runs (None: all of them);
    most: seeds at which the last look is taken, where seeds were added one by one until the verdict was in (None: one
    look, at seeds fixed beforehand)."""

    sd: float
    df: int
    level: float
    comparisons: int
    most: int | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Effect:
    """name: as it is told; factors: whose effect it is. difference: in the metric's units, with the half width of its
    simultaneous interval and the p value corrected for the family; None where it is not known. note: why it is not, or
    why what is known is no effect ('within the floor'); '' where it is one."""

    name: str
    factors: tuple[str, ...]
    difference: float | None = None
    half: float | None = None
    p: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Effects:
    """Effects of a design. level: of the intervals, of so many comparisons at once; sd: of a run around its row and
    seed, with df degrees of freedom, on which they rest; reason: why there are no effects, '' where there are."""

    kind: str
    metric: str
    level: float
    effects: tuple[Effect, ...] = ()
    sd: float | None = None
    df: int = 0
    comparisons: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One row. Numbers are means over `seeds`, None where no run has one.

    note: what sets the row apart from its variant as defined now, '' for that variant itself;
    unlike: which settings that its variant does not define forbid a comparison with the baseline;
    unfinished: seed -> state ('not run', 'running', 'deleted') of those without a finished run;
    planned: seeds of all lists with which the arm was begun; diverged: those of them that ended so;
    values: seed -> what the experiment decides by;
    metrics: those of the corpus and the head by name;
    interval: the difference of `values` from the baseline's, and how sure it is;
    other: not a row of the experiment as it is defined now, shown because all runs were asked for;
    trials: of the tuning that its settings come from, 0 untuned; trained: how many different runs these were (None: not
    known); tuned_on: their budget and fingerprints; sensitivity: '0.5x', '1x', '2x' the best learning rate
    -> what tuning found there;
    budget, steps: as run.json has them; machines: on which these were trained;
    looks: seeds at which the last look is taken, where they were added one by one;
    shared_timing: the machine was shared with other runs while one of these was timed;
    drawn: whether its likelihood was compared with what its head draws, as far as is known;
    unproven: '' where the probe of every run passed, else 'not causal: ...' or 'not probed: ...'; deviation: the
    largest of its probes, in nats.
    """

    variant: str
    arm: str
    note: str = ""
    baseline: bool = False
    stale: bool = False
    unlike: str = ""
    seeds: tuple[int, ...] = ()
    unfinished: Mapping[int, str] = field(default_factory=dict)
    planned: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    kind: str = ""
    bpb: float | None = None
    values: Mapping[int, float] = field(default_factory=dict)
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    interval: Interval | None = None
    verdict: Verdict = Verdict("")
    other: bool = False
    trials: int = 0
    trained: int | None = None
    tuned_on: Mapping[str, Any] = field(default_factory=dict)
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    machines: tuple[str, ...] = ()
    looks: int | None = None
    shared_timing: bool = False
    unproven: str = ""
    drawn: bool = True
    deviation: float = 0.0
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    @property
    def delta(self) -> float | None:
        """The difference from the baseline, None where it may not be formed."""
        return self.interval.difference if self.interval else None


@dataclass(frozen=True)
class Comparison:
    """Rows in the file's order, each followed by its stale ones; then, with `all_runs`, the arms that are not in it.

    rule: by which it is decided; family: what the intervals rest on, None where none can be computed.
    effects: of the design's deltas, None where the variants are listed;
    warnings: sentences that must be said: what could not be read, a rule that was changed, seeds that were added;
    begun: arms that were begun to be set against this baseline on these data, in any experiment, by the time of the
    table's last run (0: not known); surviving: rows whose verdict holds for as many comparisons;
    hidden: finished runs of other arms that are not shown; names: under which some of them have a table of their own;
    label: what --as called the rows; settings: what they change of the file, as typed on the command line; command:
    what makes them again.
    """

    experiment: str
    rule: Rule
    rows: tuple[Row, ...]
    family: FamilyFacts | None = None
    effects: Effects | None = None
    warnings: tuple[str, ...] = ()
    begun: int = 0
    surviving: tuple[str, ...] = ()
    hidden: int = 0
    names: tuple[str, ...] = ()
    label: str = ""
    settings: tuple[str, ...] = ()
    command: str = ""

    @property
    def title(self) -> str:
        """EXPERIMENT, or EXPERIMENT as NAME."""
        return f"{self.experiment} as {self.label}" if self.label else self.experiment
