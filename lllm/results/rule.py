"""The decision rule of an experiment: written in its file, before the runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BPB", "OF_LIKELIHOOD", "Rule"]

OF_LIKELIHOOD = ("bpb", "bpb_text", "nats_per_byte")  # what a likelihood of kind none does not have


@dataclass(frozen=True)
class Rule:
    """metric: what is compared, a field of result.json or a metric of the corpus or head; level: of the simultaneous
    intervals; power: with which a number of seeds is said to find a difference; floor: the smallest difference that
    counts, in units of the metric (None: the noise floor, twice the baseline's standard deviation over seeds)."""

    metric: str = "bpb"
    level: float = 0.95
    power: float = 0.8
    floor: float | None = None
    better: Literal["lower", "higher"] = "lower"


BPB = Rule()  # of an experiment that says no more than `decide: bpb`, or nothing
