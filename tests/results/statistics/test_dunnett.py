"""Dunnett's distribution against published tables, scipy, and special cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lllm.results.statistics.dunnett import critical, p_value
from lllm.results.statistics.sequential import look_level

# Dunnett (1964), Biometrics 20, 482: two-sided 5% points, by number of comparisons and degrees of freedom.
TABLE = {(2, 5): 3.03, (3, 5): 3.29, (2, 10): 2.57, (5, 20): 2.73, (9, 30): 2.86, (3, 60): 2.41, (1, 12): 2.18}


@pytest.mark.parametrize(("k", "df"), TABLE)
def test_the_published_table(k: int, df: int) -> None:
    assert critical(0.95, k, df) == pytest.approx(TABLE[k, df], abs=0.0051)


@pytest.mark.parametrize(("k", "df", "rho"), [(2, 4, 0.5), (6, 12, 0.5), (3, 7, 0.2), (4, 2, 0.5), (2, 1, 0.7)])
def test_the_multivariate_t_of_scipy(k: int, df: int, rho: float) -> None:
    shape = np.full((k, k), rho) + (1 - rho) * np.eye(k)
    for t in (0.7, 2.0, 4.0):
        law = stats.multivariate_t(loc=np.zeros(k), shape=shape, df=df, seed=0)
        inside = law.cdf(np.full(k, t), lower_limit=np.full(k, -t), maxpts=100_000 * k)
        assert p_value(t, k, df, rho) == pytest.approx(1 - inside, abs=2e-4)


def test_one_comparison_is_students_t() -> None:
    for df in (1, 3, 40):
        assert critical(0.95, 1, df) == pytest.approx(stats.t.ppf(0.975, df), abs=1e-8)
        assert p_value(-1.7, 1, df) == pytest.approx(2 * stats.t.sf(1.7, df), abs=1e-12)


def test_uncorrelated_and_many_degrees_is_sidak() -> None:
    z = stats.norm.ppf((1 + 0.95 ** (1 / 4)) / 2)
    assert critical(0.95, 4, 100_000, 0.0) == pytest.approx(z, abs=1e-4)


def test_critical_and_p_are_inverse_and_ordered() -> None:
    for k in (1, 3, 8):
        for df in (1, 5, 30):
            c = critical(0.9, k, df)
            assert p_value(c, k, df) == pytest.approx(0.1, abs=1e-8)
            assert p_value(1.01 * c, k, df) < 0.1
    assert critical(0.95, 5, 10, 0.2) > critical(0.95, 5, 10, 0.5)  # what the smallest correlation gives is wider
    assert p_value(0.0, 5, 10) == pytest.approx(1.0)


@pytest.mark.parametrize("level", [look_level(0.95, 2, most) for most in (12, 16, 20, 30)] + [0.5, 0.999, 1 - 1e-9])
@pytest.mark.parametrize("df", [1, 1.5, 4, 30, 1e6])
def test_far_tails(level: float, df: float) -> None:
    """Between Student's t and Bonferroni's bound; by Sidak's inequality not above what equals it where rho is 0 and the
    degrees are many."""
    for k in (1, 2, 6, 20):
        c = critical(level, k, df)
        assert p_value(c, k, df) == pytest.approx(1 - level, rel=1e-7)
        low, high = (stats.t.isf((1 - level) / (2 * of), df) for of in (1, k))
        assert low * (1 - 1e-7) <= c <= high * (1 + 1e-7)
        if df == 1e6:
            each = -np.expm1(np.log(level) / k)
            assert c <= critical(level, k, df, 0.0) * (1 + 1e-7)
            assert critical(level, k, df, 0.0) == pytest.approx(stats.norm.isf(each / 2), rel=2e-5)


def test_a_far_tail_of_two_comparisons_with_one_degree() -> None:
    """1 - P(|T_1| <= c, |T_2| <= c) by inclusion and exclusion: of uncorrelated ones, P(both beyond c) is the chance of
    s < min(|z|) / c, in closed form for large c."""
    c = 1e6
    one = 2 * stats.t.sf(c, 1)
    least = 2 / np.sqrt(np.pi) * (np.sqrt(2) - 1)  # E of the smaller of two |z|, uncorrelated
    both = np.sqrt(2 / np.pi) * least / c
    assert p_value(c, 2, 1, 0.0) == pytest.approx(2 * one - both, rel=1e-6)


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"k": 0}, {"df": 0}, {"rho": 1.0}, {"rho": -0.1}])
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 < level < 1"):
        critical(**{"level": 0.95, "k": 2, "df": 5, "rho": 0.5, **wrong})  # type: ignore[arg-type]
