"""What must be said below a table, so that its numbers are read for what they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lllm.results.rows import Comparison, FamilyFacts, Row
from lllm.results.rule import Rule

__all__ = ["footnotes"]


def footnotes(comparison: Comparison) -> list[str]:
    """Sentences, each once: the intervals, the floor, tuning, timings, what is missing."""
    rows = comparison.rows
    notes = _of_intervals(comparison)
    if any(row.runs for row in rows):
        tuned = dict.fromkeys(row.variant for row in rows if row.runs and row.trials)
        others = "; the others are untuned" if any(row.runs and not row.trials for row in rows) else ""
        notes.append(f"Tuned: {', '.join(tuned)}{others}." if tuned else "Untuned: no row was tuned.")
    notes += _of_text(rows)
    if any(row.shared_timing for row in rows):
        notes.append("*: timed while other runs shared the machine.")
    proven = [row.deviation for row in rows if row.runs and not (row.unproven or row.stale)]
    if proven:
        where = "in any row" if len(proven) == sum(bool(row.runs) and not row.stale for row in rows) else "elsewhere"
        notes.append(f"Probed: no future token reaches a prediction {where} (by {max(proven):.0e} nats at most).")
    notes += [f"{row.variant}: {row.unproven}." for row in rows if row.unproven and not row.stale]
    undrawn = (
        "its likelihood was not compared with what its head draws; `lllm check` sums it over all texts of a small "
        "vocabulary."
    )
    notes += [f"{row.variant}: {undrawn}" for row in rows if not (row.drawn or row.stale)]
    if any(row.unproven.startswith("not probed") for row in rows if not row.stale):
        notes.append("`lllm probe RUN` probes what was trained without; no verdict is given before.")
    notes += [_missing(row) for row in rows if row.unfinished]
    notes += _of_comparisons(comparison)
    notes += comparison.warnings
    if comparison.hidden:
        tables = f", --as {' or '.join(comparison.names)} the table of a name" if comparison.names else ""
        which = "overrides, budgets, trials, variants that the file no longer has"
        what = f"{comparison.hidden} finished runs of other arms ({which})"
        notes.append(f"{what}: --all shows them{tables}.")
    return list(dict.fromkeys(notes))


def _of_comparisons(comparison: Comparison) -> list[str]:
    """How often it was tried, in this table and in others."""
    if not comparison.begun or not any(row.verdict.decided for row in comparison.rows):
        return []
    begun = f"{comparison.begun} comparisons were" if comparison.begun > 1 else "1 comparison was"
    held = ", ".join(comparison.surviving) or "none"
    return [
        f"{begun} begun against this baseline on these data before this table's last run; verdicts that survive "
        f"Bonferroni over them: {held}."
    ]


def _of_intervals(comparison: Comparison) -> list[str]:
    family, rule = comparison.family, comparison.rule
    differing = [row.interval for row in comparison.rows if row.interval is not None]
    notes = []
    if differing:
        uneven = len({tuple(row.values) for row in comparison.rows if row.delta is not None or row.baseline}) > 1
        over = "over the seeds that both have"
        if rule.unpaired:
            over = "over all seeds of each: they are unpaired"
        elif uneven and family:
            over = "by least squares, as not all rows have the same seeds"
        notes.append(f"Δ: difference from the baseline's {rule.metric} {over}; {rule.better} is better.")
    if family is not None:
        notes.append(_interval(family, rule))
        if family.most is not None:
            notes.append(
                f"Seeds were added until the verdict was in, at most {family.most}: each look spends its share of the "
                f"error (alpha spending, O'Brien-Fleming type), the last one at level {family.level:.2%}."
            )
    if any(interval.documents_half is not None for interval in differing):
        notes.append("± is over other documents, too: the root of the sum of both squares.")
    if few := sorted({interval.documents for interval in differing if interval.documents is not None}):
        many = f"{' or '.join(map(str, few))} documents are too few, or one is too large, to speak of others"
        notes.append(f"± is over other seeds alone: {many}.")
    if rule.floor is not None:
        notes.append(f"Floor {rule.floor:.4g}, as the file says: no smaller difference counts.")
    return notes


def _of_text(rows: Sequence[Row]) -> list[str]:
    """What was evaluated: how much of it training has, and how much of it a row holds."""

    def said(name: str, shown: str) -> str:
        by_value: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            if not row.stale and (value := row.numbers.get(name)) is not None:
                by_value[format(value, shown)].append(row.variant)
        if len(by_value) < 2:
            return "".join(by_value)
        return ", ".join(f"{value} ({', '.join(dict.fromkeys(variants))})" for value, variants in by_value.items())

    overlap, size = said("overlap", ".1%"), said("bytes_per_row", ".0f")
    notes = [f"Overlap: {overlap} of the evaluated bytes are in documents that training has, by half or more."]
    return (notes if overlap else []) + ([f"A row of the evaluation holds {size} bytes on average."] if size else [])


def _interval(family: FamilyFacts, rule: Rule) -> str:
    rows = "one comparison" if family.comparisons == 1 else f"{family.comparisons} comparisons at once"
    if family.comparisons == 1 and not rule.unpaired:
        return f"±: {family.level:.4g} confidence (Student's paired t; sd {family.sd:.4g}, {family.df} df)."
    alone = "Welch's" if rule.unpaired else "Student's paired"
    return (
        f"±: {family.level:.4g} confidence of {rows}, the widest of three: one variance for all (Dunnett; sd "
        f"{family.sd:.4g}, {family.df} df), one of the baseline and one of the rows, {alone} t of the row alone."
    )


def _missing(row: Row) -> str:
    by_state: dict[str, list[str]] = defaultdict(list)
    for seed, state in row.unfinished.items():
        by_state[state].append(str(seed))
    why = "; ".join(f"{'seeds' if len(s) > 1 else 'seed'} {', '.join(s)}: {state}" for state, s in by_state.items())
    asked = len(row.seeds) + len(row.unfinished)
    return f"{row.variant}: {len(row.unfinished)} of {asked} missing ({why})."
