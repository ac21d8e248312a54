"""Looks that are counted: published numbers, and what happens to those who do not count them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lllm.results.statistics.family import design, half_widths
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


def found_at_some_look(y: NDArray[np.float64], levels: dict[int, float]) -> NDArray[np.bool_]:
    """[experiments, rows]"""
    looks = []
    for n, level in levels.items():
        of = design(tuple((row, seed) for row in range(1 + ROWS) for seed in range(n)))
        difference, errors = of.estimate(y[:, :, :n].reshape(len(y), -1))
        looks.append(np.abs(difference) > half_widths(errors, level, ROWS).max(0))
    return np.logical_or.reduce(looks)


def test_looking_again_and_again_keeps_the_error_only_if_it_is_counted() -> None:
    y = simulated()
    low, high = stats.binom.ppf([0.0005, 0.9995], EXPERIMENTS, 0.05)
    counted = found_at_some_look(y, {n: look_level(0.95, n, MOST) for n in range(2, MOST + 1)}).any(1).sum()
    assert counted <= high
    assert counted > 0.2 * low  # conservative, not blind
    assert 0.4 * low <= found_at_some_look(y, {MOST: 0.95}).any(1).sum() <= high  # one look at the end
    assert found_at_some_look(y, dict.fromkeys(range(2, MOST + 1), 0.95)).any(1).sum() > high


def test_counting_costs_some_power() -> None:
    """A difference that five seeds at once find nearly always is found by counted looks, most often before the last."""
    y = simulated(effect=0.03)
    levels = {n: look_level(0.95, n, MOST) for n in range(2, MOST + 1)}
    once = found_at_some_look(y, {MOST: 0.95})[:, 0].mean()
    assert found_at_some_look(y, levels)[:, 0].mean() > once - 0.15
    early = found_at_some_look(y, {n: v for n, v in levels.items() if n < MOST})[:, 0].mean()
    assert early > 0.5
