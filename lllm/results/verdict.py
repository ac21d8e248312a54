"""What may be said of a row against the baseline. Intervals are not computed yet, so that nothing is ever decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lllm.results.compare import Row

__all__ = ["NOT_JUDGED", "Verdict", "apart", "judge"]


@dataclass(frozen=True)
class Verdict:
    """A sentence for the table, and whether it decides anything."""

    text: str
    decided: bool = False


NOT_JUDGED = Verdict("")


def apart(row: Row, baseline: Row) -> str:
    """Why a number of `row` may not be set against the baseline's, '' when it may."""
    if not row.kind or row.kind == "none" or baseline.kind == "none":
        return "no likelihood"
    if row.kind != baseline.kind:
        return f"{row.kind} against {baseline.kind}"
    for name in ("data", "evaluator"):
        if row.fingerprints.get(name) != baseline.fingerprints.get(name):
            return f"other {name}"
    return row.unlike


def judge(row: Row, baseline: Row | None) -> Verdict:
    """The verdict on `row`: today always why there is none."""
    if row.baseline and not row.stale:
        return Verdict("baseline")
    if not row.runs:
        return Verdict("no verdict: no finished run")
    if row.stale:
        return Verdict("no verdict: stale")
    if baseline is None or not baseline.runs:
        return Verdict(
            "no verdict: no baseline" if baseline is None else "no verdict: the baseline has no finished run"
        )
    if reason := apart(row, baseline):
        return Verdict(f"not comparable: {reason}")
    paired = row.values.keys() & baseline.values.keys()
    if not paired:
        return Verdict("no verdict: no seed in common")
    return Verdict("no verdict: one seed" if len(paired) == 1 else "no verdict: intervals are not computed yet")
