"""What was fixed before the runs and was not kept to, as must be said below a table: rule, baseline, seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from lllm.results.grouping import Expected, assignments, few
from lllm.results.records import Record, differences
from lllm.results.rows import Row
from lllm.results.rule import Rule

__all__ = ["added", "changed"]


def added(table: Sequence[Row], rows: Sequence[Expected], records: Sequence[Record]) -> list[str]:
    """That seeds were added to others by which the row could be judged: whoever looked at those had one chance more."""
    asked = {expected.variant: expected.seeds for expected in rows}
    planned = {record.name: tuple(record.info.get("planned") or ()) for record in records}
    late: set[int] = set()
    for row in table:
        if row.stale or row.other or row.looks or row.baseline:
            continue
        together: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for seed, name in zip(row.seeds, row.runs, strict=True):
            of_file = asked.get(row.variant, ())
            together[planned.get(name) or (of_file if seed in of_file else ())].append(seed)
        before = 0
        for seeds in sorted(together.values(), key=min):
            late |= set(seeds) if before > 1 else set()  # one seed judges nothing
            before += len(seeds)
    if not late:
        return []
    listed = ", ".join(map(str, sorted(late)))
    return [f"Seeds {listed} were added to others: intervals take their number as fixed before any was looked at."]


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
