"""What so many seeds can show, against whole tables that are drawn and judged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lllm.results.statistics.dunnett import critical
from lllm.results.statistics.family import design, half_widths
from lllm.results.statistics.power import detectable, power_of, seeds_needed

DRAWN = 0.012  # of 10,000 draws of widths, and of as many tables


def test_one_comparison_is_the_paired_tests_power() -> None:
    """By the noncentral t distribution of scipy.stats."""
    n, sd, d = 5, 0.01, 0.02
    c, away = stats.t.ppf(0.975, n - 1), d / (sd * math.sqrt(2 / n))
    expected = stats.nct.sf(c, n - 1, away) + stats.nct.cdf(-c, n - 1, away)
    assert power_of(d, sd, n, 1) == pytest.approx(expected, abs=DRAWN)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("n", "k", "family", "level"), [(3, 2, 2, 0.95), (3, 6, 6, 0.95), (8, 3, 5, 0.99), (2, 4, 4, 0.9)]
)
def test_it_is_how_often_tables_find_it(n: int, k: int, family: int, level: float, paired: bool) -> None:
    difference = detectable(1.0, n, family, 0.6, level, rows=k + 1, paired=paired)
    assert difference is not None
    assert power_of(difference, 1.0, n, family, level, rows=k + 1, paired=paired) == pytest.approx(0.6, abs=1e-6)
    runs = np.random.default_rng(1).standard_normal((10_000, k + 1, n))
    runs[:, 2] -= difference
    of = design(tuple((i, j if paired else 0) for i in range(k + 1) for j in range(n)))
    found, errors = of.estimate(runs.reshape(10_000, -1))
    hits = np.abs(found[:, 1]) > half_widths(errors, level, family).max(0)[:, 1]
    assert hits.mean() == pytest.approx(0.6, abs=2 * DRAWN)


def test_the_widest_interval_finds_less_than_one_variance_for_all() -> None:
    """What unequal noise costs where there is none: much with three seeds, little with eight."""

    def pooled(difference: float, n: int) -> float:
        df = 3 * (n - 1)
        c, away = critical(0.95, 3, df), difference / math.sqrt(2 / n)
        return float(stats.nct.sf(c, df, away) + stats.nct.cdf(-c, df, away))

    for n, found, alone in ((3, 0.26, 0.50), (8, 0.60, 0.67)):
        difference = detectable(1.0, n, 3, found)
        assert difference is not None
        assert pooled(difference, n) == pytest.approx(alone, abs=0.025)


def test_the_family_may_be_larger_than_the_rows_that_estimate_the_variance() -> None:
    """Two rows of a file of four: the critical value of three comparisons, the degrees of freedom of two rows."""
    n, sd, d = 3, 0.01, 0.05
    c, away = critical(0.95, 3, 2), d / (sd * math.sqrt(2 / n))
    expected = stats.nct.sf(c, 2, away) + stats.nct.cdf(-c, 2, away)
    assert power_of(d, sd, n, 3, rows=2) == pytest.approx(expected, abs=DRAWN)
    assert power_of(d, sd, n, 3, rows=2) < power_of(d, sd, n, 3) == power_of(d, sd, n, 3, rows=4)
    needed = seeds_needed(d, sd, 3, rows=2)
    assert needed is not None
    assert power_of(d, sd, needed, 3, rows=2) >= 0.8 > power_of(d, sd, needed - 1, 3, rows=2)


def test_without_a_difference_power_is_the_share_of_one_comparison() -> None:
    assert power_of(0.0, 0.01, 3, 1) == pytest.approx(0.05, abs=0.005)
    assert power_of(0.0, 0.01, 3, 6) < 0.03


def test_the_detectable_difference_has_the_asked_power() -> None:
    for seeds, rows in ((2, 1), (3, 3), (8, 6)):
        found = detectable(0.006, seeds, rows)
        assert found is not None
        assert power_of(found, 0.006, seeds, rows) == pytest.approx(0.8, abs=1e-6)
        assert detectable(0.012, seeds, rows) == pytest.approx(2 * found)
    assert detectable(0.006, 1, 3) is None
    assert detectable(0.0, 3, 3) == 0.0


def test_the_fewest_seeds() -> None:
    for difference, rows, paired in ((0.02, 1, True), (0.01, 3, True), (0.01, 3, False), (0.004, 6, True)):
        n = seeds_needed(difference, 0.006, rows, paired=paired)
        assert n is not None
        assert power_of(difference, 0.006, n, rows, paired=paired) >= 0.8
        assert n == 2 or power_of(difference, 0.006, n - 1, rows, paired=paired) < 0.8
    assert seeds_needed(1e-6, 0.006, 3) is None


def test_what_is_beyond_a_floor_is_found_as_often_as_asked() -> None:
    """Many seeds leave the floor alone to pass: half of the estimates of a difference as large as it are beyond it."""
    sd, floor = 0.006, 0.012
    assert power_of(floor, sd, 200, 3, floor=floor) == pytest.approx(0.5, abs=1e-6)
    for seeds in (3, 20):
        least, plain = detectable(sd, seeds, 3, floor=floor), detectable(sd, seeds, 3)
        assert least is not None
        assert plain is not None
        assert least > floor
        assert least > plain or seeds == 3
    assert detectable(0.0, 3, 3, floor=0.01) == 0.01
    assert seeds_needed(0.5 * floor, sd, 3, floor=floor) is None
