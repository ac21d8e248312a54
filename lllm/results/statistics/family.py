"""Every row against one baseline: the interval by which a table decides, the widest of three.

Runs are y = row + seed + error (unpaired: y = row + error). Each way to estimate a difference's standard error fails
somewhere, and the three together nowhere that `benchmarks/calibration.py` looks:

- pool: one variance for all rows (Dunnett 1955). The most degrees of freedom; too narrow where the baseline is noisier
  than the rows, as every difference has its error and one row in k tells of it.
- two: one variance of the baseline, one of the rows (Satterthwaite's degrees of freedom). Too narrow where a single row
  is noisy.
- own: the row and the baseline alone, for one comparison: Student's paired t, or Welch's t where runs are unpaired.

The first two hold for all rows at once; the last one stands for one row and is not corrected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lllm.results.statistics.dunnett import criticals, p_value

__all__ = ["ROUNDING", "Comparison", "Family", "StandardError", "compare_all", "design", "half_widths", "satterthwaite"]

ROUNDING = 1e-13  # of float64, relative to the values
_NOTHING = 1e-9

Values = Mapping[str, Mapping[int, float]]
Reals = NDArray[np.float64]
Cells = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class StandardError:
    """Of k differences, by one of the three ways.

    error [..., k]; df: its degrees of freedom, of a shape that broadcasts to it;
    rho: the smallest correlation of two differences, where intervals are to hold for all k at once; None: for one."""

    error: Reals
    df: Reals
    rho: float | None


@dataclass(frozen=True)
class Design:
    """What is estimated from which runs, for k rows, n runs, n0 of the baseline. All estimates are linear or quadratic
    in the runs, so that one design serves any number of simulated tables.

    weights [k, n]: of each difference; residual [n, n], df: of the one variance of all runs;
    baseline [n, n0], baseline_df: the baseline's runs minus what the rows say of their seeds, and how many are free;
    rows [n, n], rows_df: of the one variance of the rows without the baseline;
    borrowed: how much of a row's variance is in the baseline's residual through the seeds: 1/k in a balanced design;
    of_baseline, of_rows [k]: sums of squared weights;
    rho: the smallest correlation of two differences under one variance; pairs: each row and the baseline alone, and of
    which runs that is.
    """

    weights: Reals
    residual: Reals
    df: int
    baseline: Reals
    baseline_df: int
    rows: Reals
    rows_df: int
    borrowed: float
    of_baseline: Reals
    of_rows: Reals
    rho: float
    pairs: tuple[tuple[NDArray[np.int64], Design], ...]

    def estimate(self, y: Reals) -> tuple[Reals, list[StandardError]]:
        """Differences [..., k] and their standard errors, from runs y [..., n]: `pool`, `two` where both variances can
        be estimated, `own`."""
        rounding = ROUNDING * np.abs(y).max(-1, keepdims=True)
        difference = _rounded(y @ self.weights.T, rounding)
        pool = self._pool(y, rounding)
        alone = [pair._own(y[..., runs], rounding) for runs, pair in self.pairs] or [self._own(y, rounding)]
        error, df = (np.concatenate([getattr(one, of) for one in alone], -1) for of in ("error", "df"))
        own = StandardError(error, df, None)
        two = [self._two(y, rounding)] if self.pairs and self.rows_df and self.baseline_df else []
        return difference, [pool, *two, own]

    def _pool(self, y: Reals, rounding: Reals) -> StandardError:
        sd = _rounded(_deviation(y, self.residual, self.df), rounding)
        error = sd * np.sqrt((self.weights**2).sum(1))
        return StandardError(error, np.full_like(error, self.df), self.rho)

    def _two(self, y: Reals, rounding: Reals) -> StandardError:
        baseline, rows = (
            _rounded(_deviation(y, of, df), rounding) ** 2
            for of, df in ((self.baseline, self.baseline_df), (self.rows, self.rows_df))
        )
        # The baseline's residual has `borrowed` times the rows' variance, which is not the baseline's own.
        of_rows = np.maximum(self.of_rows - self.of_baseline * self.borrowed, 0)
        return satterthwaite(self.of_baseline * baseline, self.baseline_df, of_rows * rows, self.rows_df, self.rho)

    def _own(self, y: Reals, rounding: Reals) -> StandardError:
        """Of a design of two rows: their runs differ in the seed or not at all."""
        return self._two(y, rounding) if self.rows_df else self._pool(y, rounding)


def satterthwaite(first: Reals, first_df: int, second: Reals, second_df: int, rho: float | None) -> StandardError:
    """Of a difference whose variance is the sum of two that are estimated apart (Satterthwaite 1946, Biometrics
    Bulletin 2, 110)."""
    total, spread = first + second, first**2 / first_df + second**2 / second_df
    df = np.divide(total**2, spread, out=np.full_like(total, first_df), where=spread > 0)
    return StandardError(np.sqrt(total), df, rho)


@lru_cache(maxsize=256)
def design(cells: Cells) -> Design:
    """The design of runs (row, seed), row 0 the baseline, 1 to k the others. Runs that are unpaired have one seed in
    common, whatever it was. Rows may have different seeds: least squares under one variance uses all of them.

    Raises:
        ValueError: nothing is left to estimate the variance of a row and the baseline from.
    """
    row, seed = (np.array(of) for of in zip(*cells, strict=True))
    k, n = int(row.max()), len(cells)
    in_row = (row[:, None] == np.arange(1, k + 1)).astype(float)
    in_seed = (seed[:, None] == np.unique(seed)).astype(float)
    every = np.hstack([in_row, in_seed])
    weights = _inverse(every)[:k]
    residual = np.eye(n) - every @ _inverse(every)
    df = _rank(residual)
    if df < 1:
        raise ValueError(f"{n} runs of {k + 1} rows: expected two seeds that a row and the baseline have")
    base = row == 0
    # The rows alone: what is left of a run without its row's mean, what that says of the seeds, and what remains.
    centred = np.diag((~base).astype(float)) - in_row @ _inverse(in_row)
    of_seed = _inverse(centred @ in_seed)
    rows = centred - centred @ in_seed @ of_seed
    # The baseline's contrasts that need nothing of the seeds but what the rows say of them.
    place = in_seed[base]
    unknown = place @ (np.eye(len(of_seed)) - of_seed @ in_seed)
    free = np.eye(len(place)) - unknown @ _inverse(unknown)
    baseline_df = _rank(free)
    borrowed = float(((free @ place @ of_seed) ** 2).sum()) / max(baseline_df, 1)
    pairs = []
    for i in range(1, k + 1) if k > 1 else ():
        runs = np.flatnonzero(base | (row == i))
        pairs.append((runs, design(tuple((int(row[j] == i), int(seed[j])) for j in runs))))
    return Design(
        weights=weights,
        residual=residual,
        df=df,
        baseline=(free @ (np.eye(n)[base] - place @ of_seed)).T,
        baseline_df=baseline_df,
        rows=rows,
        rows_df=_rank(rows),
        borrowed=borrowed,
        of_baseline=(weights[:, base] ** 2).sum(1),
        of_rows=(weights[:, ~base] ** 2).sum(1),
        rho=_smallest_correlation(weights @ weights.T),
        pairs=tuple(pairs),
    )


def half_widths(errors: list[StandardError], level: float, size: int) -> Reals:
    """Half widths [ways, ..., k] of the intervals at `level` of `size` comparisons; the widest of all ways decides."""
    return np.stack([e.error * criticals(level, 1 if e.rho is None else size, e.df, e.rho or 0.0) for e in errors])


@dataclass(frozen=True)
class Comparison:
    """A row's difference from the baseline, over n runs of its own that count. half: half width of its interval, and
    error the standard error that this one takes; p: the least 1 - level at which it excludes 0."""

    difference: float
    half: float
    error: float
    p: float
    n: int


@dataclass(frozen=True)
class Family:
    """comparisons: by row, those that share two seeds with the baseline, or have two where runs are unpaired;
    size: how many the intervals hold for at once;
    sd: of a run around its row and seed, under one variance, with df degrees of freedom;
    rho: the smallest correlation of two differences under one variance."""

    comparisons: Mapping[str, Comparison]
    sd: float
    df: int
    size: int
    rho: float = 0.5


def compare_all(
    values: Values, baseline: str, level: float = 0.95, comparisons: int | None = None, paired: bool = True
) -> Family | None:
    """Intervals of every row minus the baseline, from values[row][seed]; None where no row has one.

    comparisons: the size of the family, where more were planned than there are values for; paired: one seed does the
    same to all rows.

    Raises:
        KeyError: there is no such baseline.
    """
    base = values[baseline]
    counts = {row: len(runs.keys() & base.keys() if paired else runs) for row, runs in values.items()}
    others = [row for row in values if row != baseline and min(counts[row], len(base)) > 1]
    if not others:
        return None
    runs = [(i, row, seed) for i, row in enumerate([baseline, *others]) for seed in sorted(values[row])]
    made = design(tuple((i, seed if paired else 0) for i, _, seed in runs))
    y = np.array([values[row][seed] for _, row, seed in runs])
    difference, errors = made.estimate(y)
    size = max(len(others), comparisons or 0)
    widths = half_widths(errors, level, size)
    way = widths.argmax(0)
    found = {}
    for i, row in enumerate(others):
        half, error, apart = (float(of[i]) for of in (widths[way[i]], errors[way[i]].error, difference))
        found[row] = Comparison(apart, half, error, _p(apart, errors, i, size), counts[row])
    sd = float(errors[0].error[0] / math.sqrt(float((made.weights[0] ** 2).sum())))
    return Family(found, sd, made.df, size, made.rho)


def _p(difference: float, errors: list[StandardError], i: int, size: int) -> float:
    """The largest of the corrected p values of all ways, of row i."""
    if difference == 0:
        return 1.0
    return max(
        p_value(difference / error, 1 if e.rho is None else size, float(e.df[i]), e.rho or 0.0) if error else 0.0
        for e in errors
        for error in [float(e.error[i])]
    )


def _deviation(y: Reals, of: Reals, df: int) -> Reals:
    """Root mean square [..., 1] of what the matrix `of` leaves of the runs."""
    deviation: Reals = np.sqrt(((y @ of) ** 2).sum(-1, keepdims=True) / df)
    return deviation


def _rounded(values: Reals, rounding: Reals) -> Reals:
    """Without what is the arithmetic's alone: runs that agree exactly."""
    return np.where(np.abs(values) <= rounding, 0.0, values)


def _inverse(matrix: Reals) -> Reals:
    """The pseudoinverse of a matrix whose entries count runs: what is far below one is rounding."""
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    kept = values > _NOTHING
    inverse: Reals = v[kept].T @ (u[:, kept] / values[kept]).T
    return inverse


def _rank(projector: Reals) -> int:
    return round(float(np.trace(projector)))


def _smallest_correlation(covariance: Reals) -> float:
    if len(covariance) == 1:
        return 0.5  # nothing to correlate with
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    return float(np.clip(round(correlation[~np.eye(len(scale), dtype=bool)].min(), 9), 0.0, 0.999))
