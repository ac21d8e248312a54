"""Looks that are counted: published numbers, and what happens to those who do not count them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lllm.results.statistics.dunnett import critical
from lllm.results.statistics.family import compare_all
from lllm.results.statistics.sequential import look_level, spent

ROWS, MOST, EXPERIMENTS = 3, 6, 4000


def test_the_spending_function_is_the_published_one() -> None:
    """Five looks, two-sided 0.05, half of it on each side: cumulative alpha and the first bound of Reboussin, DeMets,
    Kim and Lan (2000, Controlled Clinical Trials 21, 190)."""
    both_sides = [2 * spent(0.025, n, 5) for n in range(1, 6)]
    assert both_sides == pytest.approx([0.00000, 0.00079, 0.00762, 0.02442, 0.05000], abs=5e-6)
    assert stats.norm.isf(spent(0.025, 1, 5)) == pytest.approx(4.8769, abs=5e-5)


@pytest.mark.parametrize("most", [2, 3, 5, 30, 1000])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_all_looks_together_spend_alpha(level: float, most: int) -> None:
    alone = [1 - look_level(level, n, most) for n in range(2, most + 1)]
    assert min(alone) > 9e-7  # what a p value can be told from
    assert sum(alone) == pytest.approx(1 - level, abs=1e-9)


def test_little_is_spent_early_and_the_one_look_is_the_only_one() -> None:
    alone = [1 - look_level(0.95, n, 8) for n in range(2, 9)]
    assert alone == sorted(alone)
    assert alone[0] < 1e-3
    assert look_level(0.95, 2, 2) == pytest.approx(0.95)
    assert look_level(0.95, 3, 8) == pytest.approx(1 - (spent(0.05, 3, 8) - spent(0.05, 2, 8)))


def test_what_is_no_look() -> None:
    for n, most in ((1, 5), (6, 5), (0, 5)):
        with pytest.raises(ValueError, match="expected"):
            look_level(0.95, n, most)
    with pytest.raises(ValueError, match="alpha"):
        spent(1.0, 1, 5)


def simulated(effect: float = 0.0) -> NDArray[np.float64]:
    """[experiments, 1 + rows, seeds]: a seed moves all rows alike; the first row after the baseline has an effect."""
    random = np.random.default_rng(11)
    y = random.normal(0, 0.05, (EXPERIMENTS, 1, MOST)) + random.normal(0, 0.01, (EXPERIMENTS, 1 + ROWS, MOST))
    y[:, 1] += effect
    return y


def statistics_at(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """t of every row against the baseline [experiments, rows], as `compare_all` has it where no seed is missing."""
    n = y.shape[2]
    residuals = y - y.mean(2, keepdims=True) - y.mean(1, keepdims=True) + y.mean((1, 2), keepdims=True)
    sd = np.sqrt((residuals**2).sum((1, 2)) / (ROWS * (n - 1)))
    gaps: NDArray[np.float64] = y[:, 1:].mean(2) - y[:, :1].mean(2)
    return gaps / (sd[:, None] * np.sqrt(2 / n))


def found_at_some_look(y: NDArray[np.float64], levels: dict[int, float]) -> NDArray[np.bool_]:
    """[experiments, rows]"""
    looks = [np.abs(statistics_at(y[:, :, :n])) > critical(v, ROWS, ROWS * (n - 1)) for n, v in levels.items()]
    return np.logical_or.reduce(looks)


def test_the_simulation_is_what_a_table_computes() -> None:
    y = simulated()[:3, :, :4]
    for one, t in zip(y, statistics_at(y), strict=True):
        values = {str(i): dict(enumerate(map(float, row))) for i, row in enumerate(one)}
        family = compare_all(values, "0", look_level(0.95, 4, MOST))
        assert family is not None
        limit = critical(look_level(0.95, 4, MOST), ROWS, family.df)
        mine = [family.comparisons[str(i + 1)] for i in range(ROWS)]
        assert [c.difference / (c.half / limit) for c in mine] == pytest.approx(t)


def test_looking_again_and_again_keeps_the_error_only_if_it_is_counted() -> None:
    y = simulated()
    low, high = stats.binom.ppf([0.0005, 0.9995], EXPERIMENTS, 0.05)
    counted = found_at_some_look(y, {n: look_level(0.95, n, MOST) for n in range(2, MOST + 1)}).any(1).sum()
    assert counted <= high
    assert counted > 0.4 * low  # conservative, not blind
    assert low <= found_at_some_look(y, {MOST: 0.95}).any(1).sum() <= high  # one look at the end
    assert found_at_some_look(y, dict.fromkeys(range(2, MOST + 1), 0.95)).any(1).sum() > 2 * high


def test_counting_costs_little_power() -> None:
    """A difference that five seeds at once find nearly always is found by counted looks, most often before the last."""
    y = simulated(effect=0.03)
    levels = {n: look_level(0.95, n, MOST) for n in range(2, MOST + 1)}
    once = found_at_some_look(y, {MOST: 0.95})[:, 0].mean()
    assert found_at_some_look(y, levels)[:, 0].mean() > once - 0.05
    early = found_at_some_look(y, {n: v for n, v in levels.items() if n < MOST})[:, 0].mean()
    assert early > 0.6
