"""Every row against one baseline, with one variance: the default interval of a table.

Runs are y = row + seed + error, the error's variance pooled over all rows. Three seeds of a row alone leave two degrees
of freedom, and six corrected comparisons at a spread of 0.006 bpb a half width of 0.053; pooled, twelve and 0.015. What
is assumed, one variance, is tested and said (`homogeneity`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lllm.results.statistics.dunnett import critical, p_value

__all__ = ["ROUNDING", "Comparison", "Family", "compare_all"]

ROUNDING = 1e-13  # of float64, relative to the values
_FREE = 1e-9  # of a run's variance, the least that its residual has unless it is fitted exactly

_DRAWS = 4000  # of the null distribution of equal variances

Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Comparison:
    """A row's difference from the baseline. half: of its simultaneous interval; p: corrected for the family."""

    difference: float
    half: float
    p: float
    n: int


@dataclass(frozen=True)
class Family:
    """comparisons by row; size: how many the intervals hold for at once; sd: pooled standard deviation of a run around
    its row and seed; df: of it; rho: the smallest correlation of two comparisons; homogeneity: p value of equal
    variances (None: too few rows to ask); unpaired: rows left out, which share no seed with the baseline."""

    comparisons: Mapping[str, Comparison]
    sd: float
    df: int
    level: float
    size: int
    rho: float = 0.5
    homogeneity: float | None = None
    unpaired: tuple[str, ...] = ()


def compare_all(values: Values, baseline: str, level: float = 0.95, comparisons: int | None = None) -> Family | None:
    """Simultaneous intervals of every row minus the baseline (Dunnett), values[row][seed]; None where nothing is left
    to estimate a variance from. Rows may have different seeds: the least squares estimate uses them all, and the
    smallest correlation of two comparisons stands for all, which widens the intervals (Sidak 1967, JASA 62, 626).

    comparisons: the size of the family, where more were planned than there are values for.

    Raises:
        KeyError: there is no such baseline.
    """
    base = values[baseline]
    linked = {row: runs for row, runs in values.items() if runs.keys() & base.keys()}
    others = [row for row in linked if row != baseline]
    unpaired = tuple(row for row in values if row not in linked)
    if not others:
        return None
    rows = [baseline, *others]
    seeds = sorted({seed for runs in linked.values() for seed in runs})
    cells = [(row, seed) for row in rows for seed in sorted(linked[row])]
    design = _design(cells, rows, seeds)
    y = np.array([linked[row][seed] for row, seed in cells])
    inverse = np.linalg.pinv(design.T @ design)
    beta = inverse @ design.T @ y
    residuals = y - design @ beta
    df = len(y) - int(np.linalg.matrix_rank(design))
    if df < 1:
        return None
    sd = math.sqrt(float(residuals @ residuals) / df)
    rounding = ROUNDING * float(np.abs(y).max(initial=0.0))
    if sd <= rounding:  # runs that agree exactly: what is left is the arithmetic's
        sd = 0.0
    # The baseline is the reference: coefficient i is row i - baseline.
    covariance = inverse[: len(others), : len(others)]
    rho, k = _smallest_correlation(covariance), max(len(others), comparisons or 0)
    found = {}
    for i, row in enumerate(others):
        error, difference = sd * math.sqrt(covariance[i, i]), float(beta[i])
        if abs(difference) <= rounding:  # so are rows that agree exactly
            difference = 0.0
        if error > 0:
            half, p = critical(level, k, df, rho) * error, p_value(difference / error, k, df, rho)
        else:
            half, p = 0.0, 1.0 if difference == 0 else 0.0
        found[row] = Comparison(difference, half, p, len(linked[row].keys() & base.keys()))
    return Family(found, sd, df, level, k, rho, _homogeneity(cells, rows, residuals), unpaired)


def _homogeneity(cells: Sequence[tuple[str, int]], rows: Sequence[str], residuals: NDArray[np.float64]) -> float | None:
    """p value of equal variances of the rows: the largest share that one of them has of the residual sum of squares
    (Cochran 1941, Annals of Eugenics 11, 47), for what the design leaves free of each row, against draws of the same
    design. None for two rows, whose residuals mirror one another whatever their variances."""
    pattern = tuple((rows.index(row), seed) for row, seed in cells)
    null = _largest_shares(pattern)
    if null is None:
        return None
    draws, free, place = null
    total = float(residuals @ residuals)
    if total == 0:
        return 1.0
    found = max(float(residuals[place == i] @ residuals[place == i]) / f for i, f in free.items()) / total
    return (1 + int((draws >= found * (1 - 1e-9)).sum())) / (1 + len(draws))


@lru_cache(maxsize=256)
def _largest_shares(
    pattern: tuple[tuple[int, int], ...],
) -> tuple[NDArray[np.float64], dict[int, float], NDArray[np.int64]] | None:
    """Draws of the statistic under one variance; degrees of freedom of each row that has any; row of each cell."""
    place = np.array([row for row, _ in pattern])
    names = [str(row) for row in range(place.max() + 1)]
    seeds = sorted({seed for _, seed in pattern})
    design = _design([(str(row), seed) for row, seed in pattern], names, seeds)
    maker = np.eye(len(pattern)) - design @ np.linalg.pinv(design)
    own = {row: float(np.diag(maker)[place == row].sum()) for row in range(len(names))}
    free = {row: df for row, df in own.items() if df > _FREE}
    if len(free) < 3:
        return None
    drawn_BN = np.random.Generator(np.random.PCG64(0)).standard_normal((_DRAWS, len(pattern))) @ maker
    squares_BN = drawn_BN**2
    shares = np.stack([squares_BN[:, place == row].sum(1) / df for row, df in free.items()]) / squares_BN.sum(1)
    return shares.max(0), free, place


def _design(cells: Sequence[tuple[str, int]], rows: Sequence[str], seeds: Sequence[int]) -> NDArray[np.float64]:
    """Columns: the rows but the first, then every seed."""
    design = np.zeros((len(cells), len(rows) - 1 + len(seeds)))
    for i, (row, seed) in enumerate(cells):
        if row != rows[0]:
            design[i, rows.index(row) - 1] = 1
        design[i, len(rows) - 1 + seeds.index(seed)] = 1
    return design


def _smallest_correlation(covariance: NDArray[np.floating[Any]]) -> float:
    if len(covariance) == 1:
        return 0.5  # nothing to correlate with
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    return float(np.clip(round(correlation[~np.eye(len(scale), dtype=bool)].min(), 9), 0.0, 0.999))
