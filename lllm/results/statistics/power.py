"""What a number of seeds can show, before money is spent: the smallest difference that would be found.

A difference is found when it is beyond the interval over seeds of `family`, and beyond the floor, if there is one. How
wide that interval is depends on three estimates of one variance, which are drawn: all noise is taken to be equal.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from lllm.results.statistics.dunnett import root
from lllm.results.statistics.family import StandardError, half_widths, satterthwaite

__all__ = ["detectable", "power_of", "seeds_needed"]

_DRAWS = 10_000  # the power is exact to about 0.003


def power_of(
    difference: float,
    sd: float,
    seeds: int,
    comparisons: int,
    level: float = 0.95,
    floor: float = 0.0,
    rows: int | None = None,
    paired: bool = True,
) -> float:
    """Probability that one row, truly `difference` from the baseline, is found different by intervals that hold for
    `comparisons` at once. Every row has `seeds` runs, each with standard deviation `sd` around its row and seed (around
    its row, where runs are unpaired).

    rows: that estimate the variance, the baseline among them, at least two; None: all of the family's.
    """
    error = sd * math.sqrt(2 / seeds)
    k = comparisons if rows is None else rows - 1
    least = np.maximum(_half_widths(seeds, k, comparisons, level, paired), floor / error)
    away = abs(difference) / error
    return float((ndtr(away - least) + ndtr(-away - least)).mean())


def detectable(
    sd: float,
    seeds: int,
    comparisons: int,
    power: float = 0.8,
    level: float = 0.95,
    floor: float = 0.0,
    rows: int | None = None,
    paired: bool = True,
) -> float | None:
    """The smallest difference that is found with probability `power`; None with one seed, which finds none. rows,
    paired: as in `power_of`."""
    if seeds < 2:
        return None
    if sd == 0:
        return floor

    def lacking(difference: float) -> float:
        return power_of(difference, sd, seeds, comparisons, level, floor, rows, paired) - power

    high = max(sd, floor)
    while lacking(high) < 0:
        high *= 2
    return root(lacking, 0.0, high, 1e-9 * high)


def seeds_needed(
    difference: float,
    sd: float,
    comparisons: int,
    power: float = 0.8,
    level: float = 0.95,
    floor: float = 0.0,
    most: int = 1000,
    rows: int | None = None,
    paired: bool = True,
) -> int | None:
    """The fewest seeds per row with which `difference` is found with probability `power`; None: more than `most`. rows,
    paired: as in `power_of`."""

    def enough(seeds: int) -> bool:
        return power_of(difference, sd, seeds, comparisons, level, floor, rows, paired) >= power

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


@lru_cache(maxsize=64)
def _half_widths(seeds: int, k: int, comparisons: int, level: float, paired: bool) -> NDArray[np.float64]:
    """Draws of the interval's half width for the first of k rows, in units of the true standard error."""
    errors = (_paired if paired else _unpaired)(np.random.Generator(np.random.PCG64(0)), seeds, k)
    halves: NDArray[np.float64] = half_widths(errors, level, comparisons).max(0) / math.sqrt(2 / seeds)
    return halves


def _paired(random: np.random.Generator, n: int, k: int) -> list[StandardError]:
    """With one variance of 1 the runs of a seed have k contrasts of variance 1: the baseline less the rows' mean, the
    first row less the rows' mean, both divided by their norm, and k - 2 more of the rows alone. Of each the n seeds
    leave n - 1 degrees of freedom; the sums of squares and products of the first two are a Wishart matrix (Bartlett).
    """
    df = n - 1
    base, product = random.chisquare(df, _DRAWS), random.standard_normal(_DRAWS)
    if k == 1:  # of two rows the first contrast is all
        return [StandardError(np.sqrt(2 / n * base / df), np.full(_DRAWS, float(df)), 0.5)]
    first = product**2 + (random.chisquare(df - 1, _DRAWS) if df > 1 else 0)
    others = first + (random.chisquare((k - 2) * df, _DRAWS) if k > 2 else 0)
    of_base, of_first = 1 + 1 / k, 1 - 1 / k  # squared norms
    own = of_base * base + of_first * first - 2 * math.sqrt(of_base * of_first) * product * np.sqrt(base)
    return [
        StandardError(np.sqrt(2 / n * (base + others) / (k * df)), np.full(_DRAWS, float(k * df)), 0.5),
        satterthwaite(of_base * base / df / n, df, of_first * others / ((k - 1) * df) / n, (k - 1) * df, 0.5),
        StandardError(np.sqrt(own / df / n), np.full(_DRAWS, float(df)), None),
    ]


def _unpaired(random: np.random.Generator, n: int, k: int) -> list[StandardError]:
    """Of the baseline, of the first row, and of the others together."""
    df = n - 1
    base, first = random.chisquare(df, _DRAWS), random.chisquare(df, _DRAWS)
    others = first + (random.chisquare((k - 1) * df, _DRAWS) if k > 1 else 0)
    pool = np.sqrt(2 / n * (base + others) / ((k + 1) * df))
    return [
        StandardError(pool, np.full(_DRAWS, float((k + 1) * df)), 0.5),
        satterthwaite(base / df / n, df, others / (k * df) / n, k * df, 0.5),
        satterthwaite(base / df / n, df, first / df / n, df, None),
    ]
