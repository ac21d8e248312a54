"""Effects of a full factorial: by hand, by numpy's least squares, and how often their intervals hold."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from lllm.results.statistics.factorial import factorial
from lllm.results.statistics.family import compare_all

Table = dict[str, dict[int, float]]
TWO = {"none": (), "a": ("a",), "b": ("b",), "a_b": ("a", "b")}
THREE = {
    "_".join(on) or "none": on for size in range(4) for on in combinations(("a", "b", "c"), size)
}  # in another order than the file's: nothing depends on it


def drawn(random: np.random.Generator, of: dict[str, tuple[str, ...]], seeds: int, means: dict[str, float]) -> Table:
    luck = random.normal(0, 0.05, seeds)
    return {row: {s: means[row] + luck[s] + random.normal(0, 0.01) for s in range(seeds)} for row in of}


def test_two_factors_by_hand() -> None:
    """Row means 2, 1.5, 1.8, 1.1: a does -0.5 without b and -0.7 with it, b -0.2 and -0.4; half of -0.2 is what they do
    to each other."""
    table: Table = {"none": {0: 2.0, 1: 2.0}, "a": {0: 1.5, 1: 1.5}, "b": {0: 1.7, 1: 1.9}, "a_b": {0: 1.2, 1: 1.0}}
    found = factorial(table, TWO, ("a", "b"))
    assert [effect.factors for effect in found.effects] == [("a",), ("b",), ("a", "b")]
    assert [effect.difference for effect in found.effects] == pytest.approx([-0.6, -0.3, -0.1])
    # seed means are equal (1.6): residuals are 0, 0, -0.1, 0.1 of row b, then 0.1, -0.1 of row a_b
    assert (found.sd, found.df) == (pytest.approx(math.sqrt(4 * 0.01 / 3)), 3)
    # variance of an effect: 4 rows of weight 1/2, 2 seeds each: 4 * (1/4) * sd^2 / 2
    error = math.sqrt(0.04 / 3 / 2)
    for effect in found.effects:
        assert effect.half is not None
        assert effect.half / error == pytest.approx(smm(3, 3), abs=1e-5)


def smm(family: int, df: int) -> float:
    """The 95% point of the largest of `family` independent |t| with one variance: the studentized maximum modulus."""

    def outside(c: float) -> float:
        inside, _ = integrate.quad(
            lambda s: (2 * stats.norm.cdf(c * s) - 1) ** family * stats.chi.pdf(s * math.sqrt(df), df) * math.sqrt(df),
            0,
            8,
        )
        return inside - 0.95

    return float(optimize.brentq(outside, 1, 20))


def test_half_widths_are_the_studentized_maximum_modulus() -> None:
    table = drawn(np.random.default_rng(3), THREE, 3, dict.fromkeys(THREE, 2.0))
    found = factorial(table, THREE, ("a", "b", "c"))
    assert (len(found.effects), found.df) == (6, 14)
    assert found.sd is not None
    error = found.sd * math.sqrt(4 / 8 / 3)
    for effect in found.effects:
        assert effect.half is not None
        assert effect.half / error == pytest.approx(smm(6, 14), abs=1e-5)


@pytest.mark.parametrize("missing", [0, 4])
def test_least_squares(missing: int) -> None:
    """Coefficients of numpy's regression on signs of all factors and their products, and on seeds."""
    random = np.random.default_rng(4 + missing)
    table = drawn(random, THREE, 4, {row: random.normal(2.5, 0.1) for row in THREE})
    for row in list(table)[:missing]:
        del table[row][int(random.integers(4))]
    found = factorial(table, THREE, ("a", "b", "c"))
    cells = [(row, seed) for row in THREE for seed in table[row]]
    columns = []
    for size in range(1, 4):
        for names in combinations(("a", "b", "c"), size):
            columns.append([math.prod(1 if n in THREE[row] else -1 for n in names) for row, _ in cells])
    seeds = [[float(seed == s) for _, seed in cells] for s in range(4)]
    x = np.array([*columns, *seeds]).T
    y = np.array([table[row][seed] for row, seed in cells])
    beta, residual, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    assert found.df == len(y) - rank
    assert found.sd == pytest.approx(math.sqrt(residual[0] / found.df))
    order = ["a", "b", "c", "ab", "ac", "bc"]
    assert ["".join(effect.factors) for effect in found.effects] == order
    assert [effect.difference for effect in found.effects] == pytest.approx(2 * beta[:6])
    covariance = np.linalg.inv(x.T @ x)
    assert found.sd is not None
    scale = [effect.half / (2 * found.sd * math.sqrt(covariance[i, i])) for i, effect in enumerate(found.effects)
             if effect.half is not None]  # fmt: skip
    assert scale == pytest.approx([scale[0]] * 6)


def test_the_variance_is_the_tables() -> None:
    table = drawn(np.random.default_rng(5), TWO, 5, dict.fromkeys(TWO, 2.0))
    family, found = compare_all(table, "none"), factorial(table, TWO, ("a", "b"))
    assert family is not None
    assert (found.sd, found.df) == (pytest.approx(family.sd), family.df)


def test_p_values_and_intervals_agree() -> None:
    table = drawn(np.random.default_rng(6), THREE, 4, {row: 2.5 - 0.02 * len(on) for row, on in THREE.items()})
    effects = factorial(table, THREE, ("a", "b", "c"), 0.9).effects
    assert [effect.difference for effect in effects[:3]] == pytest.approx([-0.02] * 3, abs=0.015)
    for effect in effects:
        assert effect.half is not None
        assert effect.p is not None
        assert (abs(effect.difference) > effect.half) == (effect.p < 0.1)


@pytest.mark.parametrize("missing", [0, 5])
def test_intervals_hold_together(missing: int) -> None:
    """In 95 of 100 experiments all six, within four standard errors; more often where runs are missing, which leaves
    them correlated."""
    random, held, times = np.random.default_rng(7), 0, 600
    means = {row: 2.5 - 0.02 * ("a" in on) + 0.01 * ("a" in on and "b" in on) for row, on in THREE.items()}
    truth = [-0.015, 0.005, 0.0, 0.005, 0.0, 0.0]
    gone = [(row, int(random.integers(3))) for row in list(THREE)[:missing]]
    for _ in range(times):
        table = drawn(random, THREE, 3, means)
        for row, seed in gone:
            del table[row][seed]
        effects = factorial(table, THREE, ("a", "b", "c")).effects
        held += all(abs(e.difference - t) <= (e.half or 0) for e, t in zip(effects, truth, strict=True))
    slack = 4 * math.sqrt(0.95 * 0.05 / times)
    assert 0.95 - slack <= held / times <= (0.95 + slack if not missing else 1)


def test_one_seed_has_effects_but_no_interval() -> None:
    found = factorial({"none": {0: 2.0}, "a": {0: 1.0}, "b": {0: 2.0}, "a_b": {0: 1.0}}, TWO, ("a", "b"))
    assert (found.sd, found.df) == (None, 0)
    assert [(e.difference, e.half, e.p) for e in found.effects] == [
        (pytest.approx(-1.0), None, None),
        (pytest.approx(0.0), None, None),
        (pytest.approx(0.0), None, None),
    ]


def test_rows_that_agree_bit_for_bit_have_no_effects() -> None:
    """Least squares leaves 1e-16 of both effects and spread, whose ratio is of no meaning."""
    for seed in range(20):
        base = dict(enumerate(map(float, 2 + np.random.default_rng(seed).random(5))))
        found = factorial({row: dict(base) for row in TWO}, TWO, ("a", "b"))
        assert found.sd == 0.0
        assert [(e.difference, e.half, e.p) for e in found.effects] == [(0.0, 0.0, 1.0)] * 3


def test_what_cannot_be_told_is_refused() -> None:
    whole = drawn(np.random.default_rng(8), TWO, 2, dict.fromkeys(TWO, 2.0))
    with pytest.raises(ValueError, match="row 'a_b' has no run"):
        factorial({**whole, "a_b": {}}, TWO, ("a", "b"))
    apart = {row: {seed + (10 if "a" in TWO[row] else 0): v for seed, v in runs.items()} for row, runs in whole.items()}
    with pytest.raises(ValueError, match=r"^a: its rows share too few seeds to be told from them"):
        factorial(apart, TWO, ("a", "b"))
