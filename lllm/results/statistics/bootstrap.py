"""Evaluation noise: how much bits per byte would move with other validation documents, or other documents and seeds.

Documents are clusters of dependent tokens, so whole documents are drawn, with the bytes they bring: the ratio of sums
is formed anew in each resample. The two rows of a difference share every draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "documents", "documents_and_seeds"]

Nats = NDArray[np.float64]  # [documents]


@dataclass(frozen=True)
class Interval:
    """The estimate, its percentile interval, and the standard deviation of the resamples."""

    value: float
    low: float
    high: float
    sd: float


def documents(
    row: Nats, baseline: Nats, size: NDArray[np.int64], *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Difference in bits per byte of two evaluations of the same documents [D], whose raw bytes are size [D]."""
    return documents_and_seeds({0: row}, {0: baseline}, size, resamples=resamples, level=level, seed=seed)


def documents_and_seeds(
    row: Mapping[int, Nats],
    baseline: Mapping[int, Nats],
    size: NDArray[np.int64],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The same for several seeds that both have: seeds are drawn, then documents, the same ones for every seed.

    Raises:
        ValueError: no seed in common, or not one number per document.
    """
    seeds = sorted(row.keys() & baseline.keys())
    if not seeds:
        raise ValueError("no seed in common")
    gaps_SD = np.stack([np.asarray(row[s], float) - np.asarray(baseline[s], float) for s in seeds])
    if gaps_SD.shape[1:] != size.shape:
        raise ValueError(f"nats of {gaps_SD.shape[1]} documents and bytes of {len(size)}")
    random = np.random.Generator(np.random.PCG64(seed))
    count = len(size)
    drawn = np.empty(resamples)
    for start in range(0, resamples, 1000):  # a thousand at once: the draws of a large corpus need not fit in memory
        stop = min(start + 1000, resamples)
        documents_BD = random.multinomial(count, np.full(count, 1 / count), stop - start)
        seeds_BS = random.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), stop - start) / len(seeds)
        nats = np.einsum("bs,bs->b", seeds_BS, documents_BD @ gaps_SD.T)
        drawn[start:stop] = nats / (math.log(2) * (documents_BD @ size))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = float(gaps_SD.mean(0).sum() / (math.log(2) * size.sum()))
    return Interval(value, float(low), float(high), float(drawn.std(ddof=1)))
