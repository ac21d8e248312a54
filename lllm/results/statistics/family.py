"""Every row against one baseline, with one variance: the default interval of a table.

Runs are y = row + seed + error, the error's variance pooled over all rows. Three seeds of a row alone leave two degrees
of freedom, and six corrected comparisons at a spread of 0.006 bpb a half width of 0.053; pooled, twelve and 0.015. What
is assumed, one variance, is tested and said (`homogeneity`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

from lllm.results.statistics.dunnett import critical, p_value

__all__ = ["ROUNDING", "Comparison", "Family", "compare_all", "equal_variances"]

ROUNDING = 1e-13  # of float64, relative to the values
_FREE = 1e-9  # of a run's variance, the least that its residual has unless it is fitted exactly

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
    """comparisons by row; sd: pooled standard deviation of a run around its row and seed; df: of it; rho: the smallest
    correlation of two comparisons; homogeneity: p value of equal variances (None: too few runs to ask); unpaired: rows
    left out, which share no seed with the baseline."""

    comparisons: Mapping[str, Comparison]
    sd: float
    df: int
    level: float
    rho: float = 0.5
    homogeneity: float | None = None
    unpaired: tuple[str, ...] = ()


def compare_all(values: Values, baseline: str, level: float = 0.95) -> Family | None:
    """Simultaneous intervals of every row minus the baseline (Dunnett), values[row][seed]; None where nothing is left
    to estimate a variance from. Rows may have different seeds: the least squares estimate uses them all, and the
    smallest correlation of two comparisons stands for all, which widens the intervals (Slepian's inequality).

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
    rho = _smallest_correlation(covariance)
    comparisons = {}
    for i, row in enumerate(others):
        error, difference = sd * math.sqrt(covariance[i, i]), float(beta[i])
        if abs(difference) <= rounding:  # so are rows that agree exactly
            difference = 0.0
        if error > 0:
            half, p = critical(level, len(others), df, rho) * error, p_value(difference / error, len(others), df, rho)
        else:
            half, p = 0.0, 1.0 if difference == 0 else 0.0
        comparisons[row] = Comparison(difference, half, p, len(linked[row].keys() & base.keys()))
    return Family(comparisons, sd, df, level, rho, _homogeneity(cells, rows, design, inverse, residuals), unpaired)


def equal_variances(groups: list[NDArray[np.float64]]) -> float | None:
    """p value of equal variances of groups: Brown and Forsythe's form of Levene's test, about medians (1974, JASA 69,
    364). None with fewer than two groups of four: of three, one is the median itself, and F never gets large enough."""
    groups = [group for group in groups if len(group) >= 4]
    if len(groups) < 2:
        return None
    spread = [np.abs(group - np.median(group)) for group in groups]
    n, k = sum(map(len, spread)), len(spread)
    grand = float(np.concatenate(spread).mean())
    between = sum(len(z) * (float(z.mean()) - grand) ** 2 for z in spread)
    within = sum(float(((z - z.mean()) ** 2).sum()) for z in spread)
    if within == 0:
        return 1.0 if between == 0 else 0.0
    return float(fdtrc(k - 1, n - k, (between / (k - 1)) / (within / (n - k))))


def _homogeneity(
    cells: list[tuple[str, int]],
    rows: list[str],
    design: NDArray[np.float64],
    inverse: NDArray[np.floating[Any]],
    residuals: NDArray[np.float64],
) -> float | None:
    """p value of equal variances of the rows. None for two rows, whose residuals mirror one another whatever their
    variances; their differences have one variance anyway. A run that is fitted exactly, as one alone at its seed, says
    nothing and is left out."""
    if len(rows) == 2:
        return None
    free = 1 - ((design @ inverse) * design).sum(1) > _FREE
    groups = [[i for i, (name, _) in enumerate(cells) if name == row and free[i]] for row in rows]
    return equal_variances([residuals[group] for group in groups])


def _design(cells: list[tuple[str, int]], rows: list[str], seeds: list[int]) -> NDArray[np.float64]:
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
