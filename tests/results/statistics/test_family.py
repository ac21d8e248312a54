"""Rows against a baseline with one variance: scipy's Dunnett, least squares by hand, calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lllm.results.statistics.family import compare_all
from lllm.results.statistics.paired import paired

Table = dict[str, dict[int, float]]


def drawn(random: np.random.Generator, rows: int, seeds: int, *, sd: float = 0.01, effect: float = 0.0) -> Table:
    """rows + a baseline; a seed moves all rows alike; the first row is better by `effect`."""
    luck = random.normal(0, 0.05, seeds)
    names = ["base", *(f"row{i}" for i in range(rows))]
    table = {n: {s: 2.5 + luck[s] + random.normal(0, sd) for s in range(seeds)} for n in names}
    if effect:
        table["row0"] = {s: v - effect for s, v in table["row0"].items()}
    return table


def test_two_rows_are_the_paired_t_test() -> None:
    table = drawn(np.random.default_rng(0), 1, 5)
    found, expected = compare_all(table, "base"), paired(table["row0"], table["base"])
    assert found is not None
    assert found.df == 4
    one = found.comparisons["row0"]
    assert (one.difference, one.half, one.p) == pytest.approx((expected.difference, expected.half, expected.p))


def test_without_an_effect_of_seeds_it_is_scipys_dunnett_with_fewer_degrees() -> None:
    """The block design's interval by hand: sd from the residuals of the additive model, sd * c * sqrt(2 / n)."""
    table = drawn(np.random.default_rng(1), 3, 4)
    found = compare_all(table, "base")
    assert found is not None
    y = np.array([list(runs.values()) for runs in table.values()])
    residuals = y - y.mean(1, keepdims=True) - y.mean(0, keepdims=True) + y.mean()
    sd = math.sqrt((residuals**2).sum() / 9)
    assert (found.sd, found.df, found.rho) == pytest.approx((sd, 9, 0.5))
    shape = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    law = stats.multivariate_t(loc=np.zeros(3), shape=shape, df=9, seed=0)
    for row, one in found.comparisons.items():
        assert one.difference == pytest.approx(y[list(table).index(row)].mean() - y[0].mean())
        c = one.half / (sd * math.sqrt(2 / 4))
        assert law.cdf(np.full(3, c), lower_limit=np.full(3, -c), maxpts=300_000) == pytest.approx(0.95, abs=2e-4)


def test_pooling_is_worth_what_the_design_says() -> None:
    """Six comparisons, three seeds, sd 0.006 per arm: 0.053 by Holm's first step with t per pair, 0.015 pooled."""
    error = 0.006 * math.sqrt(2 / 3)
    assert error * stats.t.ppf(1 - 0.05 / 12, 2) == pytest.approx(0.053, abs=0.001)
    pattern = np.array([1.0, -1.0, 0.0])
    table: Table = {"base": {}}
    rows = [np.roll(pattern, i) for i in range(7)]
    scale = 0.006 * math.sqrt(12 / sum(float(((r - np.mean(rows, 0)) ** 2).sum()) for r in rows))
    for name, row in zip(["base", *(f"r{i}" for i in range(6))], rows, strict=True):
        table[name] = {s: 2.5 + scale * float(row[s]) for s in range(3)}
    found = compare_all(table, "base")
    assert found is not None
    assert (found.df, found.sd) == (12, pytest.approx(0.006))
    assert found.comparisons["r0"].half == pytest.approx(0.015, abs=0.0005)


def test_rows_with_other_seeds_enter_by_least_squares() -> None:
    table = drawn(np.random.default_rng(2), 3, 6)
    del table["row1"][0], table["row1"][3], table["base"][5]
    table["alone"] = {17: 1.0, 18: 1.2}
    found = compare_all(table, "base")
    assert found is not None
    assert found.unpaired == ("alone",)
    cells = [(r, s, v) for r, runs in table.items() if r != "alone" for s, v in runs.items()]
    names, seeds = ["base", "row0", "row1", "row2"], range(6)
    design = np.array([[r == n for n in names[1:]] + [s == t for t in seeds] for r, s, _ in cells], float)
    y = np.array([v for *_, v in cells])
    beta, rss, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    assert found.df == len(y) - rank
    assert found.sd == pytest.approx(math.sqrt(rss[0] / found.df))
    assert [found.comparisons[n].difference for n in names[1:]] == pytest.approx(beta[:3])
    assert [found.comparisons[n].n for n in names[1:]] == [5, 3, 5]
    spread = np.linalg.pinv(design.T @ design)[:3, :3]
    correlation = spread / np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
    assert found.rho == pytest.approx(correlation[~np.eye(3, dtype=bool)].min())
    assert found.rho != 0.5


def test_nothing_to_estimate_from() -> None:
    assert compare_all({"base": {0: 1.0}, "row": {0: 2.0}}, "base") is None
    assert compare_all({"base": {0: 1.0}, "row": {1: 2.0}}, "base") is None
    assert compare_all({"base": {0: 1.0, 1: 2.0}}, "base") is None
    same = compare_all({"base": {0: 1.0, 1: 2.0}, "row": {0: 1.0, 1: 2.0}}, "base")
    assert same is not None
    assert (same.comparisons["row"].half, same.comparisons["row"].p) == (pytest.approx(0.0, abs=1e-12), 1.0)


def test_rows_that_agree_bit_for_bit_do_not_differ() -> None:
    """Least squares leaves 1e-15 between them, which without any spread would be a difference for certain."""
    base = dict(enumerate(map(float, 2 + np.random.default_rng(6).random(5))))
    found = compare_all({"base": base, "same": dict(base), "other": {s: v - 0.5 for s, v in base.items()}}, "base")
    assert found is not None
    assert found.sd == 0.0
    same, other = found.comparisons["same"], found.comparisons["other"]
    assert (same.difference, same.half, same.p) == (0.0, 0.0, 1.0)
    assert (other.difference, other.p) == (pytest.approx(-0.5), 0.0)


def test_variances_are_asked_of_what_can_tell() -> None:
    """Two rows' residuals mirror one another, and a run alone at its seed has none: it is fitted exactly."""
    assert (found := compare_all(drawn(np.random.default_rng(7), 1, 8), "base")) is not None
    assert found.homogeneity is None
    table = drawn(np.random.default_rng(8), 3, 5)
    assert (whole := compare_all(table, "base")) is not None
    assert whole.homogeneity is not None
    table["base"] |= dict.fromkeys(range(5, 12), 2.5)
    assert (more := compare_all(table, "base")) is not None
    assert more.homogeneity == pytest.approx(whole.homogeneity, abs=0.03)


def test_unequal_variances_are_seen_and_equal_ones_are_not() -> None:
    """Three seeds of four rows: the size of the test, and its power against one row of ten times the spread."""
    random, seen = np.random.default_rng(3), {1.0: 0, 10.0: 0}
    for spread in seen:
        for _ in range(400):
            table = drawn(random, 3, 3)
            table["row1"] = {s: v + random.normal(0, 0.01 * math.sqrt(spread**2 - 1)) for s, v in table["row1"].items()}
            found = compare_all(table, "base")
            assert found is not None
            assert found.homogeneity is not None
            seen[spread] += found.homogeneity < 0.05
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 0.05)
    assert low <= seen[1.0] <= high
    assert seen[10.0] > 0.6 * 400


def test_the_family_is_as_large_as_planned() -> None:
    table = drawn(np.random.default_rng(9), 2, 3)
    alone, planned = compare_all(table, "base"), compare_all(table, "base", comparisons=6)
    assert alone is not None
    assert planned is not None
    assert (alone.size, planned.size, alone.sd) == (2, 6, planned.sd)
    assert planned.comparisons["row0"].half > alone.comparisons["row0"].half
    assert planned.comparisons["row0"].p > alone.comparisons["row0"].p


def test_a_thousand_experiments_without_a_difference_reject_one_in_twenty() -> None:
    random = np.random.default_rng(4)
    rejected = 0
    for _ in range(1000):
        found = compare_all(drawn(random, 4, 3), "base")
        assert found is not None
        rejected += any(abs(one.difference) > one.half for one in found.comparisons.values())
    low, high = stats.binom.ppf([0.0005, 0.9995], 1000, 0.05)
    assert low <= rejected <= high


@pytest.mark.parametrize(("rows", "effect"), [(3, 0.03), (1, 0.06)])
def test_a_planted_difference_is_found_as_often_as_its_power_says(rows: int, effect: float) -> None:
    """Of a file of three comparisons, whichever of them have been run."""
    from lllm.results.statistics.power import power_of

    random = np.random.default_rng(5)
    hits = 0
    for _ in range(600):
        found = compare_all(drawn(random, rows, 3, effect=effect), "base", comparisons=3)
        assert found is not None
        one = found.comparisons["row0"]
        hits += one.difference + one.half < 0 or one.difference - one.half > 0
    expected = power_of(effect, 0.01, 3, 3, rows=rows + 1)
    assert 0.5 < expected < 0.95
    low, high = stats.binom.ppf([0.0005, 0.9995], 600, expected)
    assert low <= hits <= high
