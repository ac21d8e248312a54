"""Rows against a baseline: each of the three ways by scipy and by hand, rows of other seeds, runs that agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lllm.results.statistics.family import Family, compare_all, design, half_widths

Table = dict[str, dict[int, float]]
Reals = NDArray[np.float64]

# A baseline and three rows with four seeds each: numbers that can be followed by hand.
RUNS = np.array([[5.0, 9.0, 4.0, 6.0], [2.0, 5.0, 4.0, 1.0], [7.0, 8.0, 9.0, 4.0], [3.0, 6.0, 1.0, 2.0]])


def table_of(runs: Reals) -> Table:
    names = ["base", *(f"row{i}" for i in range(len(runs) - 1))]
    return {name: dict(enumerate(map(float, row))) for name, row in zip(names, runs, strict=True)}


def drawn(random: np.random.Generator, rows: int, seeds: int, *, sd: float = 0.01, effect: float = 0.0) -> Table:
    """rows + a baseline; a seed moves all rows alike; the first row is better by `effect`."""
    runs = 2.5 + random.normal(0, 0.05, seeds) + random.normal(0, sd, (rows + 1, seeds))
    runs[1] -= effect
    return table_of(runs)


def compared(table: Table, level: float = 0.95, comparisons: int | None = None, paired: bool = True) -> Family:
    found = compare_all(table, "base", level, comparisons, paired)
    assert found is not None
    return found


def ways(runs: Reals, paired: bool = True) -> tuple[Reals, list[Reals]]:
    """Differences and standard errors of a balanced table."""
    cells = tuple((i, j if paired else 0) for i in range(len(runs)) for j in range(runs.shape[1]))
    difference, errors = design(cells).estimate(runs.ravel())
    return difference, [one.error for one in errors]


def holds(c: float, k: int, df: float, level: float, rho: float = 0.5) -> bool:
    """Whether c is the critical value of k comparisons, by scipy's multivariate t."""
    shape = np.full((k, k), rho) + (1 - rho) * np.eye(k)
    law = stats.multivariate_t(loc=np.zeros(k), shape=shape, df=df, seed=0)
    inside = law.cdf(np.full(k, c), lower_limit=np.full(k, -c), maxpts=300_000)
    return bool(abs(inside - level) < 2e-4)


def test_pool_is_dunnett_of_the_additive_model() -> None:
    residuals = RUNS - RUNS.mean(1, keepdims=True) - RUNS.mean(0, keepdims=True) + RUNS.mean()
    sd = math.sqrt((residuals**2).sum() / 9)
    found = compared(table_of(RUNS))
    assert (found.sd, found.df, found.rho, found.size) == pytest.approx((sd, 9, 0.5, 3))
    difference, (pool, _, _) = ways(RUNS)
    assert difference == pytest.approx(RUNS[1:].mean(1) - RUNS[0].mean())
    assert pool == pytest.approx(np.full(3, sd * math.sqrt(2 / 4)))


def test_two_is_the_baselines_variance_and_the_rows() -> None:
    """V of the baseline less the rows' mean: 5 - 4, 9 - 19/3, 4 - 14/3, 6 - 7/3, which is (1, 8/3, -2/3, 11/3)."""
    apart = RUNS[0] - RUNS[1:].mean(0)
    assert apart == pytest.approx([1, 8 / 3, -2 / 3, 11 / 3])
    rows = RUNS[1:]
    residuals = rows - rows.mean(1, keepdims=True) - rows.mean(0, keepdims=True) + rows.mean()
    of_base, of_rows = apart.var(ddof=1), (1 - 1 / 3) * (residuals**2).sum() / (2 * 3)
    _, (_, two, _) = ways(RUNS)
    assert two == pytest.approx(np.full(3, math.sqrt((of_base + of_rows) / 4)))
    df = (of_base + of_rows) ** 2 / (of_base**2 / 3 + of_rows**2 / (2 * 3))
    errors = design(tuple((i, j) for i in range(4) for j in range(4))).estimate(RUNS.ravel())[1]
    assert errors[1].df == pytest.approx(np.full(3, df))
    half = half_widths(errors, 0.95, 3)[1]
    assert holds(float(half[0] / two[0]), 3, df, 0.95)
    assert not holds(1.03 * float(half[0] / two[0]), 3, df, 0.95)


@pytest.mark.parametrize("level", [0.95, 0.998])
def test_own_is_students_paired_t_and_is_not_corrected(level: float) -> None:
    cells = tuple((i, j) for i in range(4) for j in range(4))
    half = half_widths(design(cells).estimate(RUNS.ravel())[1], level, 30)[2]
    for i in range(3):
        expected = stats.ttest_rel(RUNS[i + 1], RUNS[0]).confidence_interval(level)
        assert half[i] == pytest.approx((expected.high - expected.low) / 2)


def test_the_widest_decides() -> None:
    """A noisy baseline widens `two`, a noisy row its `own`; calm rows have all three alike."""
    random = np.random.default_rng(0)
    calm = random.normal(0, 1, (5, 8))
    for noisy, way in ((0, 1), (2, 2)):
        runs = calm.copy()
        runs[noisy] *= 20
        found, cells = compared(table_of(runs)), tuple((i, j) for i in range(5) for j in range(8))
        halves = half_widths(design(cells).estimate(runs.ravel())[1], 0.95, 4)
        assert [one.half for one in found.comparisons.values()] == pytest.approx(halves.max(0))
        assert halves[:, 1].argmax() == way
        assert found.comparisons["row1"].error * 2 < found.comparisons["row1"].half
        for one in found.comparisons.values():
            assert (abs(one.difference) > one.half) is (one.p < 0.05)


def test_two_rows_are_the_paired_t_test() -> None:
    table = drawn(np.random.default_rng(0), 1, 5)
    row, base = (list(table[name].values()) for name in ("row0", "base"))
    test, one = stats.ttest_rel(row, base), compared(table).comparisons["row0"]
    interval = test.confidence_interval()
    assert (one.difference - one.half, one.difference + one.half) == pytest.approx((interval.low, interval.high))
    assert one.p == pytest.approx(test.pvalue)


def test_two_rows_unpaired_are_the_wider_of_students_and_welchs() -> None:
    table = {"base": {0: 1.0, 1: 1.4, 2: 0.9}, "row": {5: 2.0, 6: 4.0, 7: 3.1, 8: 2.2, 9: 3.3}}
    row, base = (list(table[name].values()) for name in ("row", "base"))
    found = compared(table, paired=False)
    one, halves, p_values = found.comparisons["row"], [], []
    for equal in (True, False):
        test = stats.ttest_ind(row, base, equal_var=equal)
        interval = test.confidence_interval()
        halves.append((interval.high - interval.low) / 2)
        p_values.append(test.pvalue)
    assert (one.half, one.p, one.n) == pytest.approx((max(halves), max(p_values), 5))
    assert one.difference == pytest.approx(np.mean(row) - np.mean(base))
    assert compare_all(table, "base") is None  # they share no seed


def test_unpaired_rows_of_different_numbers_of_runs() -> None:
    """The formulas of each way, written out: degrees of freedom, the smallest correlation, Welch's."""
    random = np.random.default_rng(3)
    counts = [4, 3, 6, 5]
    runs = [random.normal(i, 1 + i, n) for i, n in enumerate(counts)]
    cells = tuple((i, 0) for i, n in enumerate(counts) for _ in range(n))
    of = design(cells)
    difference, (pool, two, own) = of.estimate(np.concatenate(runs))
    assert difference == pytest.approx([one.mean() - runs[0].mean() for one in runs[1:]])
    squares = [((one - one.mean()) ** 2).sum() for one in runs]
    assert of.df == sum(n - 1 for n in counts)
    assert pool.error == pytest.approx([math.sqrt(sum(squares) / of.df * (1 / n + 1 / 4)) for n in counts[1:]])
    rho = [math.sqrt(a * b / ((a + 4) * (b + 4))) for a, b in ((3, 6), (3, 5), (6, 5))]
    assert (of.rho, pool.rho, two.rho, own.rho) == (*[pytest.approx(min(rho))] * 3, None)
    base, of_rows = squares[0] / 3 / 4, sum(squares[1:]) / (2 + 5 + 4)
    for i, n in enumerate(counts[1:]):
        total = base + of_rows / n
        assert two.error[i] == pytest.approx(math.sqrt(total))
        assert two.df[i] == pytest.approx(total**2 / (base**2 / 3 + (of_rows / n) ** 2 / 11))
        welch = stats.ttest_ind(runs[i + 1], runs[0], equal_var=False)
        assert own.error[i] == pytest.approx(abs(difference[i] / welch.statistic))
        assert own.df[i] == pytest.approx(welch.df)


def test_rows_with_other_seeds_enter_by_least_squares() -> None:
    table = drawn(np.random.default_rng(2), 3, 6)
    del table["row1"][0], table["row1"][3], table["base"][5]
    table["alone"] = {17: 1.0, 18: 1.2}
    table["once"] = {0: 1.0, 18: 1.2}
    found = compared(table)
    assert list(found.comparisons) == ["row0", "row1", "row2"]  # the others share fewer than two seeds
    cells = [(r, s, v) for r in ("base", *found.comparisons) for s, v in table[r].items()]
    names, seeds = ["base", "row0", "row1", "row2"], range(6)
    matrix = np.array([[r == n for n in names[1:]] + [s == t for t in seeds] for r, s, _ in cells], float)
    y = np.array([v for *_, v in cells])
    beta, rss, rank, _ = np.linalg.lstsq(matrix, y, rcond=None)
    assert found.df == len(y) - rank
    assert found.sd == pytest.approx(math.sqrt(rss[0] / found.df))
    assert [found.comparisons[n].difference for n in names[1:]] == pytest.approx(beta[:3])
    assert [found.comparisons[n].n for n in names[1:]] == [5, 3, 5]
    spread = np.linalg.pinv(matrix.T @ matrix)[:3, :3]
    correlation = spread / np.sqrt(np.outer(np.diag(spread), np.diag(spread)))
    assert found.rho == pytest.approx(correlation[~np.eye(3, dtype=bool)].min())
    assert found.rho != 0.5


CELLS = {
    "all rows lack a seed of some other": ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2),
                                           (2, 3), (2, 4), (3, 0), (3, 3), (3, 4)),
    "rows that share no seed": ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (2, 0), (2, 1), (3, 2), (3, 3), (4, 2),
                                (4, 3)),
    "a seed of the baseline's own": ((0, 0), (0, 1), (0, 2), (0, 9), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)),
    "unpaired": tuple((i, 0) for i, n in enumerate((3, 2, 5)) for _ in range(n)),
}  # fmt: skip


@pytest.mark.parametrize("which", CELLS)
@pytest.mark.parametrize("noise", [(1.0, 1.0), (4.0, 1.0), (1.0, 3.0)])
def test_two_is_right_on_average_whatever_the_seeds_and_both_variances(which: str, noise: tuple[float, float]) -> None:
    """Against the true variance of least squares' weights; one variance for all is not (a control)."""
    cells, random = CELLS[which], np.random.default_rng(4)
    of, row = design(cells), np.array([i for i, _ in CELLS[which]])
    sd = np.where(row == 0, *noise)
    y = (
        sd * random.standard_normal((40_000, len(cells)))
        + 7 * random.standard_normal((40_000, 10))[:, [seed for _, seed in cells]]
    )
    errors = of.estimate(y)[1]
    true = (of.weights**2 * sd**2).sum(1)
    assert (errors[1].error ** 2).mean(0) == pytest.approx(true, rel=0.03)
    pooled = (errors[0].error ** 2).mean(0)
    assert bool(np.abs(pooled / true - 1).max() < 0.03) is (noise[0] == noise[1])


def test_nothing_to_estimate_from() -> None:
    assert compare_all({"base": {0: 1.0}, "row": {0: 2.0}}, "base") is None
    assert compare_all({"base": {0: 1.0}, "row": {1: 2.0}}, "base") is None
    assert compare_all({"base": {0: 1.0, 1: 2.0}}, "base") is None
    same = compared({"base": {0: 1.0, 1: 2.0}, "row": {0: 1.0, 1: 2.0}})
    assert (same.comparisons["row"].half, same.comparisons["row"].p) == (0.0, 1.0)
    with pytest.raises(ValueError, match="expected two seeds"):
        design(((0, 0), (1, 0)))


@pytest.mark.parametrize("paired", [True, False])
def test_rows_that_agree_bit_for_bit_do_not_differ(paired: bool) -> None:
    """Least squares leaves 1e-15 between them, which without any spread would be a difference for certain."""
    base = dict(enumerate(map(float, 2 + np.random.default_rng(6).random(5) * (1 if paired else 0))))
    found = compared({"base": base, "same": dict(base), "other": {s: v - 0.5 for s, v in base.items()}}, paired=paired)
    assert found.sd == 0.0
    same, other = found.comparisons["same"], found.comparisons["other"]
    assert (same.difference, same.half, same.p) == (0.0, 0.0, 1.0)
    assert (other.difference, other.half, other.p) == (pytest.approx(-0.5), 0.0, 0.0)


def test_one_row_alone_without_spread_takes_the_spread_of_the_others() -> None:
    table = drawn(np.random.default_rng(8), 3, 4)
    table["row1"] = {seed: value - 0.1 for seed, value in table["base"].items()}
    one = compared(table).comparisons["row1"]
    assert one.half > 0.005


def test_the_family_is_as_large_as_planned() -> None:
    table = drawn(np.random.default_rng(9), 2, 8)
    alone, planned = compared(table), compared(table, comparisons=6)
    assert (alone.size, planned.size, alone.sd) == (2, 6, planned.sd)
    assert planned.comparisons["row0"].half > alone.comparisons["row0"].half
    assert planned.comparisons["row0"].p > alone.comparisons["row0"].p


def test_a_design_serves_many_tables_at_once() -> None:
    runs = np.random.default_rng(10).standard_normal((7, 5, 4))
    cells = tuple((i, j) for i in range(5) for j in range(4))
    difference, errors = design(cells).estimate(runs.reshape(7, -1))
    halves = half_widths(errors, 0.95, 4).max(0)
    for i, one in enumerate(runs):
        found = compared(table_of(one)).comparisons.values()
        assert difference[i] == pytest.approx([c.difference for c in found])
        assert halves[i] == pytest.approx([c.half for c in found], rel=1e-5)


# Losses on FineWeb of records/track_3_optimization of github.com/KellerJordan/modded-nanogpt (commit f411b3d), as its
# logs have them: results 6, 8, 11, 12 and 13, each at the step that its README gives.
LOSSES = {
    6: (3375, [3.27924, 3.27941, 3.27694, 3.28106, 3.27843, 3.27995, 3.27806, 3.28161, 3.27765, 3.27945, 3.27936,
               3.28124, 3.27804, 3.27859, 3.27754, 3.27728, 3.27802, 3.27877, 3.2801, 3.27784]),
    8: (3250, [3.2784, 3.27714, 3.27855, 3.27941, 3.2778, 3.27778, 3.27839, 3.27732, 3.2783, 3.27668]),
    11: (3225, [3.27807, 3.28, 3.27906, 3.27791, 3.27626, 3.27906, 3.27989, 3.27967, 3.27912, 3.27832, 3.27851,
                3.27733, 3.27867, 3.27846, 3.27752, 3.2788]),
    12: (3325, [3.27931, 3.27699, 3.27821, 3.28056, 3.27824, 3.27939, 3.27919, 3.27948, 3.27899, 3.27932, 3.2792,
                3.27905, 3.27945, 3.27845, 3.27842, 3.27922, 3.27754, 3.27938, 3.28157, 3.27898]),
    13: (3210, [3.27767, 3.27795, 3.27944, 3.27844, 3.27853, 3.27828, 3.2789, 3.28029, 3.27654, 3.27866]),
}  # fmt: skip
MEANS = {6: (3.2789, 20), 8: (3.2780, 10), 11: (3.2785, 16), 12: (3.2790, 20), 13: (3.2785, 10)}
PER_STEP = 0.0045 / 100  # loss that a step is worth, by the same README
PAIRS = {(13, 11): (False, False), (13, 8): (False, True), (12, 6): (True, True)}  # new, old: at 0.998, at 0.95


@pytest.mark.parametrize("pair", PAIRS)
def test_the_three_pairs_of_modded_nanogpt(pair: tuple[int, int]) -> None:
    """Its README tells them apart at p < 0.001, one-sided, with a standard deviation known beforehand: no, no, yes."""
    (new_steps, new), (old_steps, old) = LOSSES[pair[0]], LOSSES[pair[1]]
    for which in pair:
        mean, count = MEANS[which]
        assert (np.mean(LOSSES[which][1]), len(LOSSES[which][1])) == (pytest.approx(mean, abs=6e-5), count)
    as_long = {seed: loss - PER_STEP * (old_steps - new_steps) for seed, loss in enumerate(new)}
    table = {"base": dict(enumerate(old)), "row": as_long}
    for level, better in zip((0.998, 0.95), PAIRS[pair], strict=True):
        one = compared(table, level, paired=False).comparisons["row"]
        assert one.difference < 0
        assert (one.difference + one.half < 0) is better
