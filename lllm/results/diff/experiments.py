"""What sets two experiments apart, as their files define them now: the question, the variants, the results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lllm.results.files import dumps
from lllm.results.grouping import Expected
from lllm.results.records import FINGERPRINTS, differences
from lllm.results.rows import Row

__all__ = ["Defined", "ExperimentDifference", "diff_experiments"]


@dataclass(frozen=True)
class Defined:
    """An experiment now. question: hypothesis, budget, seeds, rule and what else its file says beyond its variants;
    expected: its variants in their order; rows: those of its table."""

    name: str
    question: Mapping[str, Any]
    expected: Sequence[Expected]
    rows: Sequence[Row]


@dataclass(frozen=True)
class ExperimentDifference:
    """Entries are {"path", "a", "b"}, and lack the side that has no such path.

    question: what differs beside the variants; only_a, only_b: variants that one of them has; everywhere: how every
    shared variant differs; variants: how each differs beside that, of those that do; results: of every shared variant
    {"variant", "a", "b", "difference" (b - a, None where it may not be formed), "other" (fingerprints that differ)}; a
    and b are what its runs gave: {"metric" (the one that decides), "mean" (over n seeds, None of none), "sd" (None of
    fewer than two), "n", "stale" (whether there are only runs of other code or data)}.
    """

    a: str
    b: str
    question: Sequence[dict[str, Any]]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    everywhere: Sequence[dict[str, Any]]
    variants: Mapping[str, Sequence[dict[str, Any]]]
    results: Sequence[dict[str, Any]]

    @property
    def same(self) -> bool:
        """Whether the files define the same."""
        return not (self.question or self.only_a or self.only_b or self.everywhere or self.variants)


def diff_experiments(a: Defined, b: Defined) -> ExperimentDifference:
    """Compare two experiments; variants go by their names."""
    mine, theirs = ({expected.variant: expected for expected in side.expected} for side in (a, b))
    shared = [variant for variant in mine if variant in theirs]
    found = {variant: differences(mine[variant].config, theirs[variant].config) for variant in shared}
    everywhere = _common(list(found.values()))
    question = differences(a.question, b.question)
    said = [*question, *everywhere]  # once is enough, of the budget as well
    apart = {variant: [entry for entry in entries if entry not in said] for variant, entries in found.items()}
    return ExperimentDifference(
        a.name,
        b.name,
        question,
        only_a=tuple(variant for variant in mine if variant not in theirs),
        only_b=tuple(variant for variant in theirs if variant not in mine),
        everywhere=[entry for entry in everywhere if entry not in question],
        variants={variant: entries for variant, entries in apart.items() if entries},
        results=[_result(mine[variant], theirs[variant], a.rows, b.rows) for variant in shared],
    )


def _common(every: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The entries that all have, where there is more than one to have them."""
    if len(every) < 2:
        return []
    rest = [{dumps(entry) for entry in entries} for entries in every[1:]]
    return [entry for entry in every[0] if all(dumps(entry) in other for other in rest)]


def _result(a: Expected, b: Expected, rows_a: Sequence[Row], rows_b: Sequence[Row]) -> dict[str, Any]:
    names = (*FINGERPRINTS, "documents")
    other = [name for name in names if a.fingerprints.get(name) != b.fingerprints.get(name)]
    if a.arm != b.arm:
        other = ["arm", *other]
    (mine, kind_a), (theirs, kind_b) = _measured(a, rows_a), _measured(b, rows_b)
    difference = None
    if mine["n"] and theirs["n"]:
        data = "documents" if a.fingerprints.get("documents") and b.fingerprints.get("documents") else "data"
        alike = mine["metric"] == theirs["metric"] and kind_a == kind_b and not set(other) & {data, "evaluator"}
        difference = theirs["mean"] - mine["mean"] if alike else None
    return {"variant": a.variant, "a": mine, "b": theirs, "difference": difference, "other": other}


def _measured(expected: Expected, rows: Sequence[Row]) -> tuple[dict[str, Any], str]:
    """The variant's numbers as defined now, and of what kind its likelihood is."""
    mine = [row for row in rows if row.variant == expected.variant and row.arm == expected.arm and not row.other]
    row = next((row for row in mine if not row.stale), None)
    values = list(row.values.values()) if row else []
    measured = {
        "metric": expected.rule.metric,
        "mean": statistics.fmean(values) if values else None,
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
        "stale": not values and any(row.stale for row in mine),
    }
    return measured, row.kind if row else ""
