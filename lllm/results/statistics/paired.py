"""One row against another, seed by seed: the paired t interval, and Holm's correction for a family of such tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

__all__ = ["Paired", "holm", "paired"]


@dataclass(frozen=True)
class Paired:
    """Mean difference over n shared seeds, the half width of its interval, and the p value of no difference. With one
    seed there is neither (None); with no spread at all the half width is 0."""

    n: int
    difference: float
    half: float | None
    p: float | None


def paired(row: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95) -> Paired:
    """Student's paired t: row - baseline over the seeds that both have.

    Raises:
        ValueError: they share no seed.
    """
    seeds = sorted(row.keys() & baseline.keys())
    if not seeds:
        raise ValueError("no seed in common")
    gaps = np.array([row[seed] - baseline[seed] for seed in seeds])
    n, mean = len(gaps), float(gaps.mean())
    if n == 1:
        return Paired(1, mean, None, None)
    error = float(gaps.std(ddof=1)) / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    if error == 0:
        return Paired(n, mean, half, 1.0 if mean == 0 else 0.0)
    return Paired(n, mean, half, float(2 * stdtr(n - 1, -abs(mean / error))))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, step by step (Holm 1979, Scandinavian Journal of Statistics 6, 65)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found, floor = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[i]))
        found[i] = floor
    return found
