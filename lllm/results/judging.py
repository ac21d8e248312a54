"""The rows of a table against its baseline, all at once: intervals and verdicts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lllm.results.rows import FamilyFacts, Interval, Row, Verdict
from lllm.results.rule import Rule
from lllm.results.verdict import apart, judge, refused

if TYPE_CHECKING:
    from lllm.results.documents import Blocks
    from lllm.results.statistics.family import Family

__all__ = ["Judged", "judged", "looked"]

_OF_NATS = ("bpb", "nats_per_byte")  # metrics that are sums over documents

Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Judged:
    """Rows with interval and verdict, and what these rest on; None where there was nothing to compute."""

    rows: tuple[Row, ...]
    family: FamilyFacts | None = None


def judged(table: Sequence[Row], rule: Rule, blocks: Callable[[Row], Mapping[int, Blocks]]) -> Judged:
    """Judge every row. blocks(row): seed -> what its evaluation found, document by document."""
    baseline = next((row for row in table if row.baseline and not row.stale), None)
    refusals = [refused(row, baseline, rule) for row in table]
    rows = [_unjudged(row, baseline, rule, refusal) for row, refusal in zip(table, refusals, strict=True)]
    if baseline is None:
        return Judged(tuple(rows))
    fit = [i for i, refusal in enumerate(refusals) if refusal is None]
    names, arms = _arms(baseline, [table[i] for i in fit])
    looks = _looks(arms, rule)
    if not looks:
        return Judged(tuple(rows))
    last = looks[-1]
    intervals = _intervals(arms, last, rule, blocks)
    for i, name in zip(fit, names, strict=True):
        if name not in intervals:
            rows[i] = replace(rows[i], verdict=Verdict("no verdict: its seeds lie beyond the last look", "none"))
            continue
        interval = intervals[name]
        deciding = [look for look in looks if look.decides(name, interval, rule.floor or 0.0)]
        early = deciding[0].seeds if deciding and deciding[-1] is not last else None
        verdict = judge(table[i], baseline, interval, last.facts, rule, bool(deciding), early)
        rows[i] = replace(table[i], interval=interval, verdict=verdict)
    return Judged(tuple(rows), last.facts)


def _arms(baseline: Row, rows: Sequence[Row]) -> tuple[list[str], dict[str, Row]]:
    """Of each row the name under which its runs are compared; name -> what is compared, the baseline's first. Rows of
    one arm are one: their runs agree bit for bit, and counted twice they would pass for evidence of a small spread."""
    names = [f"{row.arm} {row.fingerprints.get('code')}" for row in (baseline, *rows)]
    if len(set(names)) == 1:  # nothing but the baseline, whose copies have no spread around it
        names = [str(i) for i in range(len(names))]
    arms: dict[str, Row] = {}
    for name, row in zip(names, (baseline, *rows), strict=True):
        first = arms.get(name, row)
        looks = max(first.looks or 0, row.looks or 0) or None
        arms[name] = replace(first, values={**row.values, **first.values}, looks=looks)
    return names[1:], arms


@dataclass(frozen=True)
class _Look:
    """The comparison as it stood with so many seeds (None: with all), by the names of `_arms`."""

    family: Family
    facts: FamilyFacts
    seeds: int | None = None

    def decides(self, row: str, last: Interval, floor: float) -> bool:
        """Whether the row's difference is beyond its interval and the floor, on the side on which all seeds have it.
        last: with all seeds, whose documents are those of every look."""
        found = self.family.comparisons.get(row)
        if found is None or found.difference * last.difference <= 0:
            return False
        return abs(found.difference) > max(math.hypot(found.half, last.documents_half or 0.0), floor)


def _looks(arms: Mapping[str, Row], rule: Rule) -> list[_Look]:
    """One look at all seeds; or one with 2, 3, ... seeds where they were added until the verdict was in, each at the
    level that alpha spending leaves it. Seeds were added in ascending order; one that only the baseline has, or only
    other rows, was never looked at."""
    from lllm.results.statistics.family import compare_all  # scipy is imported where something is computed
    from lllm.results.statistics.sequential import look_level

    baseline = next(iter(arms))
    values: Values = {name: row.values for name, row in arms.items()}
    most = max((row.looks for row in arms.values() if row.looks), default=None)
    counts: list[int | None] = [None]
    levels = [rule.level]
    if most is not None:
        values, looked_at = looked(values, baseline, most)
        counts = [*range(2, looked_at + 1)]
        levels = [look_level(rule.level, n, most) for n in range(2, looked_at + 1)]
    found = []
    for count, level in zip(counts, levels, strict=True):
        family = compare_all(_first(values, count, baseline), baseline, level, rule.comparisons, not rule.unpaired)
        if family is not None:
            rows = 1 + len(family.comparisons)
            facts = FamilyFacts(family.sd, family.df, level, family.size, most, rows)
            found.append(_Look(family, facts, count))
    return found


def looked(values: Values, baseline: str, most: int) -> tuple[Values, int]:
    """The values at the seeds at which looks were taken, and how many seeds these are: those that another row shares
    with the baseline, and none beyond the last look, for which no error is left to spend."""
    shared = {seed for row, runs in values.items() if row != baseline for seed in runs.keys() & values[baseline].keys()}
    seeds = sorted(shared)[:most]
    return _at(values, seeds), len(seeds)


def _first(values: Values, count: int | None, baseline: str) -> dict[str, dict[int, float]]:
    """The values of the first `count` seeds of all (None: of every seed), without the rows that have none of them."""
    seeds = sorted({seed for runs in values.values() for seed in runs})[:count]
    return {row: runs for row, runs in _at(values, seeds).items() if runs or row == baseline}


def _at(values: Values, seeds: Sequence[int]) -> dict[str, dict[int, float]]:
    return {row: {seed: runs[seed] for seed in seeds if seed in runs} for row, runs in values.items()}


def _unjudged(row: Row, baseline: Row | None, rule: Rule, refusal: Verdict | None) -> Row:
    """With the mean difference over the seeds that both have, where that may be formed, and why there is no more."""
    verdict = refusal or Verdict("no verdict: too few runs to estimate their spread", "none")
    interval = None
    if baseline is not None and row is not baseline and not row.stale and not apart(row, baseline, rule.metric):
        if rule.unpaired and row.values and baseline.values:
            mine, theirs = (statistics.fmean(one.values.values()) for one in (row, baseline))
            interval = Interval(mine - theirs, len(row.values))
        elif seeds := row.values.keys() & baseline.values.keys():
            difference = statistics.fmean(row.values[seed] - baseline.values[seed] for seed in sorted(seeds))
            interval = Interval(difference, len(seeds))
    return replace(row, interval=interval, verdict=verdict)


def _intervals(
    arms: Mapping[str, Row], look: _Look, rule: Rule, blocks: Callable[[Row], Mapping[int, Blocks]]
) -> dict[str, Interval]:
    """By the names of `_arms`, at the last look. Of the baseline's own, what another name of it has."""
    (name, baseline), *others = arms.items()
    found = {name: Interval(0.0, len(baseline.values), half=0.0, seeds_half=0.0, error=0.0, p=1.0)}
    for name, row in others:
        one = look.family.comparisons.get(name)
        if one is None:  # seeds that nobody was to look at
            continue
        half, few = _over_documents(row, baseline, rule, look.family.size, blocks)
        both = math.hypot(one.half, half or 0.0)
        found[name] = Interval(one.difference, one.n, both, one.half, one.error, one.p, half, few)
    return found


def _over_documents(
    row: Row, baseline: Row, rule: Rule, comparisons: int, blocks: Callable[[Row], Mapping[int, Blocks]]
) -> tuple[float | None, int | None]:
    """Half width of the interval over other documents, in the metric's units; or how many documents there are, where
    they are too few for one; neither where it is not known what each of them cost."""
    import numpy as np

    from lllm.results.statistics.ratio import few, half_width

    mine, theirs = (blocks(row), blocks(baseline)) if rule.metric in _OF_NATS else ({}, {})
    if not rule.unpaired:
        shared = mine.keys() & theirs.keys()
        mine, theirs = ({seed: of[seed] for seed in sorted(shared)} for of in (mine, theirs))
    both = [*mine.values(), *theirs.values()]
    if not mine or not theirs or len({found.key for found in both}) > 1:
        return None, None
    size = both[0].bytes
    if few(size):
        return None, both[0].documents
    gap = np.mean([of.nats for of in mine.values()], 0) - np.mean([of.nats for of in theirs.values()], 0)
    unit = math.log(2) if rule.metric == "bpb" else 1.0
    return float(half_width(gap, size, rule.level, comparisons)) / unit, None
