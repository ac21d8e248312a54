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
    difference: float, sd: float, seeds: int, comparisons: int, level: float = 0.95, floor: float = 0.0
) -> float:
    """Probability that one of `comparisons` rows, truly `difference` from the baseline, is found different. Every row
    has `seeds` runs, each with standard deviation `sd` around its row and seed; Dunnett's intervals, one variance."""
    df, error = comparisons * (seeds - 1), sd * math.sqrt(2 / seeds)
    s, weight = scale_nodes(df)
    least, away = np.maximum(critical(level, comparisons, df) * s, floor / error), abs(difference) / error
    return float(weight @ (ndtr(away - least) + ndtr(-away - least)))


def detectable(
    sd: float, seeds: int, comparisons: int, power: float = 0.8, level: float = 0.95, floor: float = 0.0
) -> float | None:
    """The smallest difference that is found with probability `power`; None with one seed, which finds none."""
    if seeds < 2:
        return None
    if sd == 0:
        return floor
    high = max(critical(level, comparisons, comparisons * (seeds - 1)) * sd * math.sqrt(2 / seeds), floor)
    while power_of(high, sd, seeds, comparisons, level, floor) < power:
        high *= 2
    return root(lambda d: power_of(d, sd, seeds, comparisons, level, floor) - power, 0.0, high, 1e-9 * high)


def seeds_needed(
    difference: float,
    sd: float,
    comparisons: int,
    power: float = 0.8,
    level: float = 0.95,
    floor: float = 0.0,
    most: int = 1000,
) -> int | None:
    """The fewest seeds per row with which `difference` is found with probability `power`; None: more than `most`."""
    low, high = 1, 2
    while high <= most and power_of(difference, sd, high, comparisons, level, floor) < power:
        low, high = high, 2 * high
    high = min(high, most)
    if power_of(difference, sd, high, comparisons, level, floor) < power:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if power_of(difference, sd, middle, comparisons, level, floor) < power:
            low = middle
        else:
            high = middle
    return high
