"""What so many seeds can show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lllm.results.statistics.dunnett import critical
from lllm.results.statistics.power import detectable, power_of, seeds_needed


def test_one_comparison_is_the_paired_tests_power() -> None:
    """By the noncentral t distribution of scipy.stats."""
    n, sd, d = 5, 0.01, 0.02
    c, away = stats.t.ppf(0.975, n - 1), d / (sd * math.sqrt(2 / n))
    expected = stats.nct.sf(c, n - 1, away) + stats.nct.cdf(-c, n - 1, away)
    assert power_of(d, sd, n, 1) == pytest.approx(expected, abs=1e-6)


def test_the_family_may_be_larger_than_the_rows_that_estimate_the_variance() -> None:
    """Two rows of a file of four: the critical value of three comparisons, the degrees of freedom of two rows."""
    n, sd, d = 3, 0.01, 0.05
    c, away = critical(0.95, 3, 2), d / (sd * math.sqrt(2 / n))
    expected = stats.nct.sf(c, 2, away) + stats.nct.cdf(-c, 2, away)
    assert power_of(d, sd, n, 3, rows=2) == pytest.approx(expected, abs=1e-6)
    assert power_of(d, sd, n, 3, rows=2) < power_of(d, sd, n, 3) == power_of(d, sd, n, 3, rows=4)
    least = detectable(sd, n, 3, rows=2)
    assert least is not None
    assert power_of(least, sd, n, 3, rows=2) == pytest.approx(0.8, abs=1e-6)
    needed = seeds_needed(d, sd, 3, rows=2)
    assert needed is not None
    assert power_of(d, sd, needed, 3, rows=2) >= 0.8 > power_of(d, sd, needed - 1, 3, rows=2)


def test_without_a_difference_power_is_the_share_of_one_comparison() -> None:
    assert power_of(0.0, 0.01, 3, 1) == pytest.approx(0.05, abs=1e-6)
    assert power_of(0.0, 0.01, 3, 6) < 0.05


def test_the_detectable_difference_has_the_asked_power() -> None:
    for seeds, rows in ((2, 1), (3, 3), (8, 6)):
        found = detectable(0.006, seeds, rows)
        assert found is not None
        assert power_of(found, 0.006, seeds, rows) == pytest.approx(0.8, abs=1e-6)
    assert detectable(0.006, 1, 3) is None
    assert detectable(0.0, 3, 3) == 0.0


def test_the_fewest_seeds() -> None:
    for difference, rows in ((0.02, 1), (0.01, 3), (0.004, 6)):
        n = seeds_needed(difference, 0.006, rows)
        assert n is not None
        assert power_of(difference, 0.006, n, rows) >= 0.8
        assert n == 2 or power_of(difference, 0.006, n - 1, rows) < 0.8
    assert seeds_needed(1e-6, 0.006, 3) is None


def test_what_is_beyond_a_floor_is_found_as_often_as_asked() -> None:
    """Many seeds leave the floor alone to pass, few the interval: by drawing estimates and standard deviations."""
    random, sd, floor = np.random.default_rng(5), 0.006, 0.012
    for seeds in (3, 20):
        least = detectable(sd, seeds, 3, floor=floor)
        assert least is not None
        assert least > floor
        error, df = sd * math.sqrt(2 / seeds), 3 * (seeds - 1)
        estimates = random.normal(least, error, 20_000)
        half = critical(0.95, 3, df) * error * np.sqrt(random.chisquare(df, 20_000) / df)
        assert (np.abs(estimates) > np.maximum(half, floor)).mean() == pytest.approx(0.8, abs=0.012)
    assert detectable(0.0, 3, 3, floor=0.01) == 0.01
    assert seeds_needed(0.5 * floor, sd, 3, floor=floor) is None
