"""What was planned before the runs, beside what is there: seeds, the family, the rule, the baseline.

Seeds are planned by beginning: whoever begins an arm with a list of seeds has planned all of them, in whatever
experiment, under whatever name, and a verdict needs them all. Else seven seeds of ten could be shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from lllm.results.grouping import Expected, assignments, few
from lllm.results.records import Record, differences
from lllm.results.rows import Row, Verdict
from lllm.results.rule import Rule

__all__ = ["added", "changed", "enlarged", "incomplete", "planned", "steady", "without"]


def planned(begun: Sequence[Record]) -> tuple[int, ...]:
    """Seeds of an arm: of all lists with which it was begun. begun: its runs under one code, data and evaluator,
    wherever they are now. Of a list whose seeds are added until the verdict is in, every look is counted: planned are
    those that were begun."""
    lists = [(not record.info.get("looks") and record.info.get("planned")) or (record.seed,) for record in begun]
    lists += [record.info.get("begun") or () for record in begun]
    return tuple(sorted({seed for seeds in lists for seed in seeds}))


def incomplete(row: Row, baseline: Row, rule: Rule) -> str:
    """'3 of 8 planned' where seeds of the row, or the baseline at one of them, have no outcome; '' where all have one.

    Seeds that only the baseline has are needed up to the row's last: what `lllm noise` adds is beyond it, and a row at
    some of the baseline's seeds may have been begun where the baseline is weak. Unpaired, both need all of theirs.
    """
    if rule.unpaired:
        both = ((row, ""), (baseline, " of the baseline"))
        counts = ((len({*one.values, *one.diverged} & {*one.planned}), len(one.planned), whose) for one, whose in both)
        return next((f"{here} of {planned} planned{whose}" for here, planned, whose in counts if here < planned), "")
    needed = set(row.planned)
    if needed and not row.looks:
        needed |= {seed for seed in baseline.planned if seed < max(needed)}
    here = {seed for seed in needed if seed in row.values or seed in row.diverged}
    paired = {seed for seed in here if seed in baseline.values}
    if paired == needed:
        return ""
    return f"{len(paired)} of {len(needed)} planned{' of the baseline' if here == needed else ''}"


def steady(row: Row, baseline: Row | None, rule: Rule) -> Row:
    """A row of which a seed diverged is not better than one of which none did, whatever the others say."""
    settled = row.baseline or row.stale or row.other or row.verdict.word not in ("better", "inconclusive", "none")
    if settled or not row.diverged or baseline is None or incomplete(row, baseline, rule):
        return row
    said = f"unstable: {len(row.diverged)} of {len(row.planned)} diverged"
    return replace(row, verdict=Verdict(said, "unstable"))


def without(table: Sequence[Row], seeds: Collection[int]) -> list[Row]:
    """The rows as they are judged where the baseline diverged at some seeds."""
    return [
        replace(
            row,
            values={seed: value for seed, value in row.values.items() if seed not in seeds},
            planned=tuple(seed for seed in row.planned if seed not in seeds),
            diverged=tuple(seed for seed in row.diverged if seed not in seeds),
        )
        for row in table
    ]


def enlarged(rule: Rule, baseline: Expected, records: Sequence[Record]) -> Rule:
    """The rule, whose family has every variant that was ever to be set against this baseline on these data: what was
    taken out of the file after the first run has had its chance."""
    family = set(rule.family)
    for record in records:
        same_data = baseline.fingerprints.get("data") in (None, record.fingerprint("data"))
        if record.info.get("against") == baseline.arm and same_data:
            family |= set(record.info.get("family") or ())
    return replace(rule, comparisons=max(rule.comparisons, len(family)))


def added(table: Sequence[Row], records: Sequence[Record]) -> list[str]:
    """That seeds were added to others by which the row could be judged: whoever looked at those had one chance more."""
    first: dict[tuple[str, int], tuple[int, ...]] = {}  # the list by which a seed of an arm was planned first
    for record in sorted(records, key=lambda record: record.finished_at):
        for seed in record.info.get("planned") or (record.seed,):
            first.setdefault((record.arm, seed), tuple(record.info.get("planned") or ()))
    late: set[int] = set()
    for row in table:
        if row.stale or row.other or row.looks or row.baseline:
            continue
        together: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for seed in row.seeds:
            together[first.get((row.arm, seed), ())].append(seed)
        before = 0
        for seeds in sorted(together.values(), key=min):
            late |= set(seeds) if before > 1 else set()  # one seed judges nothing
            before += len(seeds)
    if not late:
        return []
    listed = f"Seeds {', '.join(map(str, sorted(late)))} were" if len(late) > 1 else f"Seed {min(late)} was"
    return [f"{listed} added to others: intervals take their number as fixed before any was looked at."]


def changed(table: Sequence[Row], records: Sequence[Record], rule: Rule) -> list[str]:
    """That runs were begun under another rule than decides now, or another baseline."""
    used = {name: row.baseline for row in table if not (row.stale or row.other) for name in row.runs}
    mine = [record for record in records if record.name in used]
    then = [r.info["rule"] for r in mine if isinstance(r.info.get("rule"), Mapping)]
    other = [found for found in then if dict(found) != rule.written()]
    said = []
    if other:
        was = few(assignments(differences(rule.written(), other[0])))
        said.append(f"The rule was changed: {len(other)} of these runs were begun under {was}.")
    were = {r.variant for r in mine if r.info.get("baseline") and not used[r.name]}
    if were and any(used.values()):
        said.append(f"The baseline was changed: it was {' and '.join(sorted(were))} when these runs were begun.")
    return said
