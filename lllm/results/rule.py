"""The decision rule of an experiment: written in its file, before the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lllm.config import Experiment

__all__ = ["BPB", "OF_LIKELIHOOD", "Design", "Rule", "rule_of"]

OF_LIKELIHOOD = ("bpb", "bpb_text", "nats_per_byte")  # what a likelihood of kind none does not have


@dataclass(frozen=True)
class Design:
    """Which deltas each variant has. kind: leave_one_out, add_one_in or full_factorial; factors: names of the deltas;
    of: variant -> those that it has, the reference first (all of them for leave_one_out, otherwise none)."""

    kind: Literal["leave_one_out", "add_one_in", "full_factorial"]
    factors: tuple[str, ...]
    of: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Rule:
    """metric: what is compared, a field of result.json or a metric of the corpus or head; level: of the simultaneous
    intervals; power: with which a number of seeds is said to find a difference; floor: the smallest difference that
    counts, in units of the metric (None: any that is beyond its interval); better: which of two numbers is;
    unpaired: a seed does nothing in common to all rows, so that runs are compared without regard to it;
    design: whose effects are told beside the rows (None: the variants are listed); family: the variants that the file
    sets against its baseline, whichever of them have been run; comparisons: how many, with those that it once had."""

    metric: str = "bpb"
    level: float = 0.95
    power: float = 0.8
    floor: float | None = None
    better: Literal["lower", "higher"] = "lower"
    unpaired: bool = False
    design: Design | None = None
    comparisons: int = 0
    family: tuple[str, ...] = ()

    def written(self) -> dict[str, Any]:
        """What a run records of it: what decides."""
        own = ("metric", "level", "power", "floor", "better")
        said = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        return said | ({"unpaired": True} if self.unpaired else {})


BPB = Rule()  # of an experiment that says no more than `decide: bpb`, or nothing


def rule_of(experiment: Experiment) -> Rule:
    """Its decision rule, design and family, for every table and page alike."""
    design = experiment.design
    told = Design(design.kind, design.factors, design.of) if design else None
    family = tuple(variant for variant in experiment.variants if variant != experiment.baseline)
    return Rule(
        **experiment.decide.model_dump(),
        unpaired=experiment.unpaired,
        design=told,
        comparisons=len(family),
        family=family,
    )
