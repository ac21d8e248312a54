"""What a number of seeds can show, before money is spent: the smallest difference that would be found.

A difference is found when its simultaneous interval excludes 0 and its estimate is beyond the floor, if there is one.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from lllm.results.statistics.dunnett import critical, scale_nodes
from lllm.results.statistics.root import root

__all__ = ["detectable", "power_of", "seeds_needed"]


def power_of(
    difference: float,
    sd: float,
    seeds: int,
    comparisons: int,
    level: float = 0.95,
    floor: float = 0.0,
    rows: int | None = None,
) -> float:
    """Probability that one row, truly `difference` from the baseline, is found different by Dunnett's intervals, which
    hold for `comparisons` at once. Every row has `seeds` runs, each with standard deviation `sd` around its row and
    seed.

    rows: that estimate the variance, the baseline among them, at least two; None: all of the family's.
    """
    df, error = _df(seeds, comparisons, rows), sd * math.sqrt(2 / seeds)
    s, weight = scale_nodes(df)
    least, away = np.maximum(critical(level, comparisons, df) * s, floor / error), abs(difference) / error
    return float(weight @ (ndtr(away - least) + ndtr(-away - least)))


def detectable(
    sd: float,
    seeds: int,
    comparisons: int,
    power: float = 0.8,
    level: float = 0.95,
    floor: float = 0.0,
    rows: int | None = None,
) -> float | None:
    """The smallest difference that is found with probability `power`; None with one seed, which finds none. rows: as in
    `power_of`."""
    if seeds < 2:
        return None
    if sd == 0:
        return floor
    high = max(critical(level, comparisons, _df(seeds, comparisons, rows)) * sd * math.sqrt(2 / seeds), floor)
    while power_of(high, sd, seeds, comparisons, level, floor, rows) < power:
        high *= 2
    return root(lambda d: power_of(d, sd, seeds, comparisons, level, floor, rows) - power, 0.0, high, 1e-9 * high)


def seeds_needed(
    difference: float,
    sd: float,
    comparisons: int,
    power: float = 0.8,
    level: float = 0.95,
    floor: float = 0.0,
    most: int = 1000,
    rows: int | None = None,
) -> int | None:
    """The fewest seeds per row with which `difference` is found with probability `power`; None: more than `most`. rows:
    as in `power_of`."""

    def enough(seeds: int) -> bool:
        return power_of(difference, sd, seeds, comparisons, level, floor, rows) >= power

    low, high = 1, 2
    while high <= most and not enough(high):
        low, high = high, 2 * high
    high = min(high, most)
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _df(seeds: int, comparisons: int, rows: int | None) -> int:
    """Degrees of freedom of the pooled variance: the family may be larger than the rows that have runs."""
    return ((comparisons + 1 if rows is None else rows) - 1) * (seeds - 1)
