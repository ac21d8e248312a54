"""How far a difference in bits per byte would move with other validation documents: a ratio of two sums over them.

Documents are clusters of dependent tokens and bring their own bytes, so that whole documents are what varies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lllm.results.statistics.dunnett import critical

__all__ = ["FEWEST", "LARGEST", "few", "half_width"]

FEWEST = 20  # documents whose spread says anything
LARGEST = 1 / 5  # of all bytes, in one document: beyond that the spread is that document's own

Reals = NDArray[np.float64]


def few(size: NDArray[np.int64]) -> bool:
    """Whether documents of these bytes [D] are too few, or one of them too large, for an interval."""
    return len(size) < FEWEST or bool(size.max() > LARGEST * size.sum())


def half_width(gap: Reals, size: NDArray[np.int64] | Reals, level: float = 0.95, comparisons: int = 1) -> Reals:
    """Half width [...] of the interval of sum(gap) / sum(size), both [..., D] of D >= 2 documents, by the ratio
    estimator (Cochran 1977, Sampling Techniques, 2.11). gap: nats of one row less those of another; size: bytes.

    comparisons: for how many rows it is to hold at once. They share the baseline's error on these documents as they do
    its error over seeds: Dunnett's critical value, Student's where there is one row.
    """
    count, total = gap.shape[-1], size.sum(-1)
    rest = gap - (gap.sum(-1) / total)[..., None] * size
    error = np.sqrt(count / (count - 1) * (rest**2).sum(-1)) / total
    half: Reals = critical(level, comparisons, count - 1) * error
    return half
