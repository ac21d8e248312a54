"""Resampled documents against the ratio estimator's own standard error, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lllm.results.statistics.bootstrap import documents, documents_and_seeds


def corpus(random: np.random.Generator, count: int, gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nats of two models on documents of uneven length; the first costs `gap` nats per byte more on average."""
    size = random.integers(50, 3000, count)
    base = size * random.normal(1.7, 0.2, count)
    return base + size * random.normal(gap, 0.05, count), base, size


def test_the_spread_is_that_of_a_ratio_of_sums() -> None:
    row, base, size = corpus(np.random.default_rng(0), 400, 0.01)
    found = documents(row, base, size, resamples=4000)
    gap = row - base
    ratio = gap.sum() / size.sum()
    error = math.sqrt(((gap - ratio * size) ** 2).sum()) / size.sum() / math.log(2)
    assert found.value == pytest.approx(ratio / math.log(2))
    assert found.sd == pytest.approx(error, rel=0.05)
    assert found.low < found.value < found.high


def test_pairing_is_what_makes_it_narrow() -> None:
    row, base, size = corpus(np.random.default_rng(1), 200, 0.01)
    shuffled = np.random.default_rng(2).permutation(base)
    assert documents(row, shuffled, size, resamples=500).sd > 5 * documents(row, base, size, resamples=500).sd


def test_it_covers_the_truth() -> None:
    random, inside = np.random.default_rng(3), 0
    for i in range(200):
        row, base, size = corpus(random, 150, 0.02)
        found = documents(row, base, size, resamples=400, seed=i)
        inside += found.low <= 0.02 / math.log(2) <= found.high
    assert stats.binomtest(inside, 200, 0.95).pvalue > 0.001


def test_seeds_add_their_own_spread() -> None:
    random = np.random.default_rng(4)
    row, base, size = corpus(random, 300, 0.01)
    luck = {s: random.normal(0, 0.05) for s in range(4)}
    rows = {s: row + luck[s] * size for s in luck}
    both = documents_and_seeds(rows, dict.fromkeys(luck, base), size, resamples=2000)
    assert both.sd > 3 * documents(row, base, size, resamples=2000).sd
    alike = documents_and_seeds(dict.fromkeys(luck, row), dict.fromkeys(luck, base), size, resamples=2000)
    assert alike.value == pytest.approx(documents(row, base, size).value)
    assert alike == documents_and_seeds(dict.fromkeys(luck, row), dict.fromkeys(luck, base), size, resamples=2000)


def test_what_does_not_fit_is_refused() -> None:
    one, size = np.ones(3), np.ones(3, dtype=np.int64)
    with pytest.raises(ValueError, match="no seed in common"):
        documents_and_seeds({0: one}, {1: one}, size)
    with pytest.raises(ValueError, match="nats of 3 documents and bytes of 2"):
        documents(one, one, size[:2])
