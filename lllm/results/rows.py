"""The rows of a table and the table itself, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lllm.results.effects import Effects
from lllm.results.judging import FamilyFacts
from lllm.results.rule import Rule
from lllm.results.verdict import NOT_JUDGED, Floor, Interval, Verdict

__all__ = ["NUMBERS", "Comparison", "Row"]

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
)


@dataclass(frozen=True)
class Row:
    """One row. Numbers are means over `seeds`, None where no run has one.

    note: what sets the row apart from its variant as defined now, '' for that variant itself;
    unlike: which settings that its variant does not define forbid a comparison with the baseline;
    unfinished: seed -> state ('not run', 'running', 'failed: loss is NaN') of those without a finished run;
    sd: standard deviation of bpb over seeds (n - 1 in the denominator); values: seed -> what the experiment decides by;
    metrics: those of the corpus and the head by name;
    interval: the difference of `values` from the baseline's, and how sure it is;
    other: not a row of the experiment as it is defined now, shown because all runs were asked for;
    trials: of the tuning that its settings come from, 0 untuned; sensitivity: '0.5x', '1x', '2x' the best learning rate
    -> what tuning found there;
    budget, steps: as run.json has them; looks: seeds at which the last look is taken, where they were added one by one;
    shared_timing: the machine was shared with other runs while one of these was timed.
    """

    variant: str
    arm: str
    note: str = ""
    baseline: bool = False
    stale: bool = False
    unlike: str = ""
    seeds: tuple[int, ...] = ()
    unfinished: Mapping[int, str] = field(default_factory=dict)
    kind: str = ""
    bpb: float | None = None
    sd: float | None = None
    values: Mapping[int, float] = field(default_factory=dict)
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    interval: Interval | None = None
    verdict: Verdict = NOT_JUDGED
    other: bool = False
    trials: int = 0
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    looks: int | None = None
    shared_timing: bool = False
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    @property
    def delta(self) -> float | None:
        """The difference from the baseline, None where it may not be formed."""
        return self.interval.difference if self.interval else None


@dataclass(frozen=True)
class Comparison:
    """Rows in the file's order, each followed by its stale ones; then, with `all_runs`, the arms that are not in it.

    rule: by which it is decided; family: what the intervals rest on; floor: the smallest difference that counts; both
    None where no interval can be computed.
    effects: of the design's deltas, None where the variants are listed;
    problems: files that could not be read, and whose numbers are missing;
    hidden: finished runs of other arms that are not shown; names: under which some of them have a table of their own;
    label: what --as called the rows; settings: what they change of the file, as typed on the command line; command:
    what makes them again.
    """

    experiment: str
    rule: Rule
    rows: tuple[Row, ...]
    family: FamilyFacts | None = None
    floor: Floor | None = None
    effects: Effects | None = None
    problems: tuple[str, ...] = ()
    hidden: int = 0
    names: tuple[str, ...] = ()
    label: str = ""
    settings: tuple[str, ...] = ()
    command: str = ""

    @property
    def decide(self) -> str:
        """The metric by which it is decided."""
        return self.rule.metric

    @property
    def title(self) -> str:
        """EXPERIMENT, or EXPERIMENT as NAME."""
        return f"{self.experiment} as {self.label}" if self.label else self.experiment

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
