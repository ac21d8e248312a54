"""The interval over other documents: a hand calculation, its coverage, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lllm.results.statistics.dunnett import critical
from lllm.results.statistics.ratio import few, half_width


def test_the_ratio_estimator_by_hand() -> None:
    """Gaps 4, 2, -3 nats on 10, 20, 30 bytes: R = 3 / 60, residuals 3.5, 1, -4.5, sum of squares 33.5."""
    gap, size = np.array([4.0, 2.0, -3.0]), np.array([10, 20, 30])
    error = math.sqrt(3 / 2 * 33.5) / 60
    assert half_width(gap, size) == pytest.approx(stats.t.ppf(0.975, 2) * error)
    assert half_width(gap, size, 0.9) == pytest.approx(stats.t.ppf(0.95, 2) * error)
    assert half_width(gap, size, 0.95, 4) == pytest.approx(critical(0.95, 4, 2) * error)
    assert half_width(np.stack([gap, 2 * gap]), size) == pytest.approx(half_width(gap, size) * np.array([1, 2]))


def test_a_gap_in_proportion_to_the_bytes_says_the_same_of_any_documents() -> None:
    size = np.arange(1, 41)
    assert half_width(0.3 * size, size) == pytest.approx(0, abs=1e-12)
    assert half_width(np.full(40, 0.3), size) > 0.001  # as much per document is not as much per byte


def test_nineteen_of_twenty_intervals_hold() -> None:
    """Documents of very different bytes from a population whose ratio is 0.2; Student's mean of ratios is off."""
    random, hits, tries = np.random.default_rng(0), 0, 4000
    for _ in range(tries):
        size = np.exp(random.normal(6, 0.8, 40))
        gap = 0.2 * size + np.sqrt(size) * random.normal(0, 3, 40)
        hits += abs(gap.sum() / size.sum() - 0.2) <= half_width(gap, size)
    assert 0.935 < hits / tries < 0.96


@pytest.mark.parametrize(
    ("size", "expected"),
    [([5] * 19, True), ([5] * 20, False), ([1] * 40 + [10], False), ([1] * 40 + [11], True), ([], True)],
)
def test_too_few_or_one_too_large(size: list[int], expected: bool) -> None:
    assert few(np.array(size, np.int64)) is expected
