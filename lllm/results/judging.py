"""The rows of a table against its baseline, all at once: intervals, the noise floor, verdicts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lllm.results.noise import SPREAD
from lllm.results.rows import FamilyFacts, Floor, Interval, Row, Verdict
from lllm.results.rule import Rule
from lllm.results.verdict import apart, judge, refused

if TYPE_CHECKING:
    from lllm.results.blocks import Blocks
    from lllm.results.noise import Noise
    from lllm.results.statistics.family import Family

__all__ = ["Judged", "judged", "looked"]

_RESAMPLES = 2000
_OF_NATS = ("bpb", "nats_per_byte")  # metrics that are sums over documents
_MANY = 5  # seeds of a stored noise that stands alone

Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Judged:
    """Rows with interval and verdict, and what these rest on; None where there was nothing to compute."""

    rows: tuple[Row, ...]
    family: FamilyFacts | None = None
    floor: Floor | None = None


def judged(
    table: Sequence[Row], rule: Rule, noise: Noise | None, blocks: Callable[[Row], Mapping[int, Blocks]]
) -> Judged:
    """Judge every row. noise: the stored noise of the baseline, if any; blocks(row): seed -> what its evaluation found
    piece by piece."""
    baseline = next((row for row in table if row.baseline and not row.stale), None)
    refusals = [refused(row, baseline, rule.metric) for row in table]
    rows = [_unjudged(row, baseline, rule, refusal) for row, refusal in zip(table, refusals, strict=True)]
    if baseline is None:
        return Judged(tuple(rows))
    fit = [i for i, refusal in enumerate(refusals) if refusal is None]
    names, arms = _arms(baseline, [table[i] for i in fit])
    looks = _looks(arms, rule)
    if not looks:
        return Judged(tuple(rows))
    last = looks[-1]
    floor = _floor(rule, noise, arms.values())
    intervals = _intervals(arms, last, rule, blocks)
    for i, name in zip(fit, names, strict=True):
        if name not in intervals:
            beyond = Verdict("no verdict: its seeds lie beyond the last look", "none")
            rows[i] = replace(rows[i], verdict=beyond)
            continue
        interval = intervals[name]
        deciding = [look for look in looks if look.decides(name, interval.difference, floor.value)]
        early = deciding[0].seeds if deciding and deciding[-1] is not last else None
        verdict = judge(table[i], baseline, interval, last.facts, floor, rule, bool(deciding), early)
        rows[i] = replace(table[i], interval=interval, verdict=verdict)
    return Judged(tuple(rows), last.facts, floor)


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

    def decides(self, row: str, difference: float, floor: float) -> bool:
        """Whether the row's interval excludes 0, and its difference is beyond the floor, on the side on which
        `difference` is that all seeds give."""
        found = self.family.comparisons.get(row)
        if found is None or found.difference * difference <= 0:
            return False
        return found.p <= 1 - self.family.level and abs(found.difference) > floor


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
        family = compare_all(_first(values, count, baseline), baseline, level, rule.comparisons)
        if family is not None:
            rows = 1 + len(family.comparisons)
            facts = FamilyFacts(family.sd, family.df, level, family.size, family.homogeneity, most, rows)
            found.append(_Look(family, facts, count))
    return found


def looked(values: Values, baseline: str, most: int) -> tuple[Values, int]:
    """The values at the seeds at which looks were taken, and how many seeds these are: those that another row shares
    with the baseline, and none beyond the last look, for which no error is left to spend."""
    shared = {seed for row, runs in values.items() if row != baseline for seed in runs.keys() & values[baseline].keys()}
    seeds = sorted(shared)[:most]
    return {row: {seed: runs[seed] for seed in seeds if seed in runs} for row, runs in values.items()}, len(seeds)


def _first(values: Values, count: int | None, baseline: str) -> dict[str, dict[int, float]]:
    """The values of the first `count` seeds of all (None: of every seed), without the rows that have none of them."""
    seeds = sorted({seed for runs in values.values() for seed in runs})[:count]
    kept = {row: {seed: runs[seed] for seed in seeds if seed in runs} for row, runs in values.items()}
    return {row: runs for row, runs in kept.items() if runs or row == baseline}


def _floor(rule: Rule, noise: Noise | None, rows: Iterable[Row]) -> Floor:
    """Given, or twice the spread of a run over seeds: of the baseline's stored noise, and where there is none or little
    of it, of the rows themselves."""
    if rule.floor is not None:
        return Floor(rule.floor, "given")
    squares = [(len(v) - 1, statistics.variance(v)) for row in rows if len(v := list(row.values.values())) > 1]
    own = math.sqrt(sum(df * variance for df, variance in squares) / sum(df for df, _ in squares))
    if noise is not None and (noise.n >= _MANY or noise.sd >= own):
        return Floor(noise.floor, f"2 sd of {noise.n} seeds of the baseline")
    return Floor(SPREAD * own, "2 sd of the rows' own seeds")


def _unjudged(row: Row, baseline: Row | None, rule: Rule, refusal: Verdict | None) -> Row:
    """With the mean difference over the seeds that both have, where that may be formed, and why there is no more."""
    verdict = refusal or Verdict("no verdict: too few runs to estimate their spread", "none")
    interval = None
    if baseline is not None and row is not baseline and not row.stale and not apart(row, baseline, rule.metric):
        seeds = sorted(row.values.keys() & baseline.values.keys())
        if seeds:
            difference = statistics.fmean(row.values[seed] - baseline.values[seed] for seed in seeds)
            interval = Interval(difference, len(seeds))
    return replace(row, interval=interval, verdict=verdict)


def _intervals(
    arms: Mapping[str, Row], look: _Look, rule: Rule, blocks: Callable[[Row], Mapping[int, Blocks]]
) -> dict[str, Interval]:
    """By the names of `_arms`, at the last look. Of the baseline's own, what another name of it has."""
    from lllm.results.statistics.paired import holm, paired

    (name, baseline), *others = arms.items()
    pairs = [paired(row.values, baseline.values, rule.level) for _, row in others]
    corrected = holm([1.0 if pair.p is None else pair.p for pair in pairs])
    found = {name: Interval(0.0, len(baseline.values), half=0.0, p=1.0, paired_half=0.0, holm_p=1.0)}
    for (name, row), pair, holm_p in zip(others, pairs, corrected, strict=True):
        family = look.family.comparisons.get(name)
        if family is None:  # seeds that nobody was to look at
            continue
        found[name] = Interval(
            difference=family.difference,
            n=family.n,
            half=family.half,
            p=family.p,
            paired_half=pair.half,
            holm_p=holm_p,
            evaluation=_evaluation(row, baseline, rule, blocks) if rule.metric in _OF_NATS else None,
        )
    return found


def _evaluation(row: Row, baseline: Row, rule: Rule, blocks: Callable[[Row], Mapping[int, Blocks]]) -> float | None:
    """Half width of the bootstrap interval of the difference over what was evaluated, in the metric's units."""
    from lllm.results.statistics.bootstrap import documents_and_seeds

    mine, theirs = blocks(row), blocks(baseline)
    shared = [seed for seed in mine if seed in theirs and mine[seed].key == theirs[seed].key]
    if not shared or len({mine[seed].key for seed in shared}) > 1:
        return None
    found = documents_and_seeds(
        {seed: mine[seed].nats for seed in shared},
        {seed: theirs[seed].nats for seed in shared},
        mine[shared[0]].bytes,
        resamples=_RESAMPLES,
        level=rule.level,
    )
    unit = 1.0 if rule.metric == "bpb" else math.log(2)
    return unit * (found.high - found.low) / 2
