"""Tables in which nothing differs, or what was planted; the benchmark has 20,000 of each, and every kind of noise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration import LIMIT, NOISE, drawn, layout, looked, other_documents, other_seeds, planted
from lllm.results.statistics.dunnett import critical
from lllm.results.statistics.power import detectable

TABLES = 4000
MOST = LIMIT + 4 * (LIMIT * (1 - LIMIT) / TABLES) ** 0.5


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("k", "n"), [(2, 3), (10, 3), (6, 8)])
def test_nothing_is_found_where_nothing_is_whatever_is_noisy(k: int, n: int, paired: bool) -> None:
    random = np.random.default_rng(20)
    for noise in NOISE:
        assert 0 < other_seeds(random, TABLES, k, n, noise, paired) <= MOST, noise


def test_one_variance_for_all_is_wrong_where_the_baseline_is_noisy() -> None:
    """The control: Dunnett's interval alone, by its own formula."""
    k, n = 20, 3
    runs = drawn(np.random.default_rng(21), TABLES, k, n, "base x3", True)
    residuals = runs - runs.mean(1, keepdims=True) - runs.mean(2, keepdims=True) + runs.mean((1, 2), keepdims=True)
    sd = np.sqrt((residuals**2).sum((1, 2)) / (k * (n - 1)))
    gaps = np.abs(runs[:, 1:].mean(2) - runs[:, :1].mean(2))
    wrong = (gaps.max(1) > critical(0.95, k, k * (n - 1)) * sd * np.sqrt(2 / n)).mean()
    assert wrong > 0.15


def test_noise_is_as_it_is_called() -> None:
    runs = drawn(np.random.default_rng(22), 4000, 3, 4, "row x5", True)
    assert (runs[:, 1] - runs[:, 0]).std() == pytest.approx(26**0.5, rel=0.03)
    assert (runs[:, 2] - runs[:, 3]).std() == pytest.approx(2**0.5, rel=0.03)
    assert layout(3, 4, True).df == 9


def test_other_documents_are_allowed_for_and_for_all_rows_at_once() -> None:
    random = np.random.default_rng(23)
    assert other_documents(random, TABLES, 20, 8, 32) <= MOST
    assert other_documents(random, TABLES, 20, 8, 32, corrected=False) > MOST


def test_looks_are_counted_and_not_counting_them_is_found_out() -> None:
    random = np.random.default_rng(24)
    assert looked(random, TABLES, 1, 8) <= MOST
    assert looked(random, TABLES, 1, 8, counted=False) > 2 * LIMIT


def test_a_planted_difference_is_found_as_often_as_its_power_says() -> None:
    difference = detectable(1.0, 5, 3, 0.8)
    assert difference is not None
    found, pooled = planted(np.random.default_rng(25), TABLES, 3, 5, difference, True)
    assert found == pytest.approx(0.8, abs=0.03)
    assert pooled > found
