"""A whole table judged: intervals over seeds and documents, the floor, verdicts and their terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lllm.results.columns import columns_of
from lllm.results.compare import compare
from lllm.results.documents import Documents, write_documents
from lllm.results.footnotes import footnotes
from lllm.results.rule import Rule
from lllm.results.statistics.dunnett import critical
from lllm.results.statistics.family import compare_all
from tests.results.conftest import MakeRun, arm
from tests.results.tables import BASE, SLIGHT, fill, found, rows_of, texts


def test_better_worse_and_the_same(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1, "bad": 0.1, "same": 0.0})
    table = compare(root, "study", rows_of("base", "good", "bad", "same"))
    assert texts(table) == {
        "base": "baseline",
        "good": "better (untuned)",
        "bad": "worse (untuned)",
        "same": "inconclusive: no difference (untuned)",
    }
    assert [row.verdict.decided for row in table.rows] == [False, True, True, False]


def test_the_numbers_are_those_of_the_statistics(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1, "bad": 0.1})
    table = compare(root, "study", rows_of("base", "good", "bad"))
    values = {row.variant: row.values for row in table.rows}
    family = compare_all(values, "base")
    assert family is not None
    assert table.family is not None
    assert (table.family.sd, table.family.df, table.family.comparisons) == (family.sd, family.df, 2)
    for name in ("good", "bad"):
        interval = found(table, name).interval
        assert interval is not None
        mine = family.comparisons[name]
        assert (interval.difference, interval.p, interval.n) == (mine.difference, mine.p, 4)
        assert (interval.seeds_half, interval.error) == (mine.half, mine.error)
        assert interval.documents_half == pytest.approx(0, abs=1e-6)  # every document says the same
        assert interval.half == pytest.approx(mine.half)


def test_a_clear_difference_below_the_floor_is_none(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    table = compare(root, "study", rows_of("base", "good", rule=Rule(floor=0.2)))
    assert texts(table)["good"] == "inconclusive: within the floor (untuned)"
    assert any("Floor 0.2, as the file says" in note for note in footnotes(table))
    plain = compare(root, "study", rows_of("base", "good"))
    assert texts(plain)["good"] == "better (untuned)"
    assert not any("loor" in note for note in footnotes(plain))


def test_an_unsure_difference_says_how_many_seeds_would_decide(make_run: MakeRun, root: Path) -> None:
    for seed, (base, row) in enumerate([(2.50, 2.40), (2.50, 2.48), (2.50, 2.45)]):
        make_run("base", seed, base)
        make_run("row", seed, row)
    verdict = found(compare(root, "study", rows_of("base", "row", rule=Rule(floor=0.0))), "row").verdict
    assert verdict.word == "inconclusive"
    assert verdict.text.startswith("inconclusive: about ")
    assert "more seed" in verdict.text
    # With fewer rows than the file compares the variance is less sure, and it takes more seeds.
    more = found(compare(root, "study", rows_of("base", "row", rule=Rule(floor=0.0, comparisons=3))), "row").verdict
    assert int(more.text.split()[2]) > int(verdict.text.split()[2])


def test_where_higher_is_better(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, results={"metrics": {"accuracy": 0.5 + 0.001 * seed}})
        make_run("row", seed, results={"metrics": {"accuracy": 0.9 - 0.002 * seed}})
    rule = Rule("accuracy", better="higher")
    assert found(compare(root, "study", rows_of("base", "row", rule=rule)), "row").verdict.word == "better"
    rule = Rule("accuracy", better="lower")
    assert found(compare(root, "study", rows_of("base", "row", rule=rule)), "row").verdict.word == "worse"


def test_a_metric_that_the_results_lack(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"row": 0.1})
    table = compare(root, "study", rows_of("base", "row", rule=Rule("accuracy")))
    assert texts(table)["row"] == "no verdict: the results have no such metric"


@pytest.mark.parametrize(
    ("base", "row", "said"),
    [
        (8, 8, "better"),
        (8, 0, "better (untuned)"),
        (0, 8, "better (the baseline untuned)"),
        (4, 8, "better (8 trials against 4)"),
    ],
)
def test_tuning_is_said(make_run: MakeRun, root: Path, base: int, row: int, said: str) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], tuned={"trials": base, "fields": {}} if base else None)
        tuned = {"trials": row, "fields": {}, "sensitivity": {"0.5x": 2.7, "1x": 2.5}} if row else None
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], tuned=tuned)
    table = compare(root, "study", rows_of("base", "row"))
    assert texts(table)["row"] == said
    assert found(table, "row").trials == row
    assert found(table, "row").sensitivity == ({"0.5x": 2.7, "1x": 2.5} if row else {})


def test_what_is_no_mapping_in_what_a_run_says_of_its_tuning_is_left_out(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        for name, bpb in (("base", BASE[seed]), ("row", BASE[seed] - 0.1 + SLIGHT[seed])):
            make_run(name, seed, bpb, tuned={"trials": 8, "fields": [1], "terms": [1], "sensitivity": [1]})
    table = compare(root, "study", rows_of("base", "row"))
    assert (texts(table)["row"], found(table, "row").sensitivity) == ("better", {})


def test_rows_that_cannot_be_judged_do_not_widen_the_others(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    alone = compare(root, "study", rows_of("base", "good"))
    for seed in range(4):
        make_run("bound", seed, 1.0, results={"kind": "bound"})
        make_run("failed", seed, None)
    make_run("single", 0, 2.0)
    table = compare(root, "study", rows_of("base", "good", "bound", "failed", "single"))
    assert found(table, "good").interval == found(alone, "good").interval
    assert texts(table)["single"] == "no verdict: one seed"
    assert texts(table)["failed"] == "no verdict: no finished run"


def test_other_arms_are_exploratory_and_outside_the_family(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    for seed in range(4):
        make_run("good", seed, 2.0, identity=arm("override"))
    table = compare(root, "study", rows_of("base", "good"), all_runs=True)
    other = table.rows[-1]
    assert other.verdict.text == "no verdict: exploratory, not a row of the experiment"
    assert (table.family and table.family.comparisons) == 1


def test_a_row_that_jumps_about_is_judged_by_its_own_seeds(make_run: MakeRun, root: Path) -> None:
    """Among calm rows the pooled spread would call it worse."""
    jumps = (0.05, 0.12, 0.02)
    for seed in range(3):
        make_run("base", seed, BASE[seed])
        for i in range(5):
            make_run(f"calm{i}", seed, BASE[seed] + SLIGHT[(seed + i) % 4])
        make_run("wild", seed, BASE[seed] + jumps[seed])
    table = compare(root, "study", rows_of("base", "wild", *(f"calm{i}" for i in range(5))))
    wild = found(table, "wild")
    assert wild.interval is not None
    assert table.family is not None
    pooled = critical(0.95, 6, table.family.df) * table.family.sd * math.sqrt(2 / 3)
    own = stats.t.ppf(0.975, 2) * np.std(jumps, ddof=1) / math.sqrt(3)
    assert wild.interval.difference > pooled
    assert wild.interval.seeds_half == pytest.approx(own)
    assert wild.verdict.text.startswith("inconclusive: about ")


def test_a_noisy_baseline_makes_no_row_better(make_run: MakeRun, root: Path) -> None:
    """What all rows have in common is the baseline's luck; one variance for all does not see it (the control)."""
    for seed, luck in enumerate((0.06, 0.02, 0.07, 0.03)):
        make_run("base", seed, BASE[seed] + luck)
        for i in range(8):
            make_run(f"row{i}", seed, BASE[seed] + SLIGHT[(seed + i) % 4])
    table = compare(root, "study", rows_of("base", *(f"row{i}" for i in range(8))))
    assert table.family is not None
    pooled = critical(0.95, 8, table.family.df) * table.family.sd * math.sqrt(2 / 4)
    for row in table.rows[1:]:
        assert row.delta is not None
        assert row.delta < -pooled
        assert row.verdict.word == "inconclusive"


def test_unpaired_runs_need_no_seed_in_common(make_run: MakeRun, root: Path) -> None:
    for seed in range(4):
        make_run("base", seed, BASE[seed])
        make_run("good", 10 + seed, BASE[seed] - 0.1 + SLIGHT[seed])
    make_run("good", 14, 2.4)
    make_run("single", 20, 2.0)
    rows = rows_of("base", "good", "single")
    assert texts(compare(root, "study", rows))["good"] == "no verdict: no seed in common"
    table = compare(root, "study", rows_of("base", "good", "single", rule=Rule(unpaired=True)))
    interval = found(table, "good").interval
    assert interval is not None
    family = compare_all({row.variant: row.values for row in table.rows[:2]}, "base", paired=False)
    assert family is not None
    assert (interval.seeds_half, interval.n) == (family.comparisons["good"].half, 5)
    assert texts(table)["good"] == "better (untuned)"
    assert texts(table)["single"] == "no verdict: one seed"
    assert any("unpaired" in note for note in footnotes(table))


def test_the_family_is_what_the_file_compares_whatever_has_been_run(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    few = compare(root, "study", rows_of("base", "good", rule=Rule(comparisons=1)))
    many = compare(root, "study", rows_of("base", "good", rule=Rule(comparisons=6)))
    assert (few.family and few.family.comparisons, many.family and many.family.comparisons) == (1, 6)
    small, large = found(few, "good").interval, found(many, "good").interval
    assert small is not None
    assert large is not None
    assert (small.half or 0) < (large.half or 0)


def test_a_number_that_is_none_is_not_averaged(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed])
        make_run("row", seed, math.nan if seed == 1 else BASE[seed] - 0.1 + SLIGHT[seed])
    row = found(compare(root, "study", rows_of("base", "row")), "row")
    assert sorted(row.values) == [0, 2]
    assert row.bpb == pytest.approx((2.402 + 2.391) / 2)


def test_the_seeds_that_a_difference_rests_on_are_told(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1}, 3)
    make_run("good", 3, 2.4)
    make_run("good", 4, 2.4)
    table = compare(root, "study", rows_of("base", "good"))
    (cell,) = [column.cell for column in columns_of(table) if column.key == "seeds"]
    assert [cell(row) for row in table.rows] == ["3 of 5", "5, 3 paired"]


def scored(run: Path, nats: Sequence[float]) -> None:
    hashes = np.random.default_rng(0).integers(0, 256, (len(nats), 16), np.uint8)
    write_documents(run / "documents.npz", Documents(hashes, np.full(len(nats), 100), {"exact": np.array(nats)}))


def test_a_difference_that_other_documents_may_undo_is_not_called_one(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"even": -0.1, "lucky": -0.1})
    base = np.full(80, 100.0)
    lucky = base.copy()
    lucky[0] -= 80 * 0.1 * 100 * math.log(2)  # all of it on one of 80 documents
    for seed in range(4):
        for variant, nats in (("base", base), ("even", base - 0.1 * 100 * math.log(2)), ("lucky", lucky)):
            scored(root / "study" / variant / arm(variant)[:8] / f"s{seed}", list(nats))
    table = compare(root, "study", rows_of("base", "even", "lucky"))
    even, lucky_row = found(table, "even"), found(table, "lucky")
    assert even.verdict.word == "better"
    assert even.interval is not None
    assert even.interval.documents_half == pytest.approx(0.0, abs=1e-6)
    assert lucky_row.interval is not None
    assert lucky_row.interval.half == pytest.approx(
        math.hypot(lucky_row.interval.seeds_half or 0, lucky_row.interval.documents_half or 0)
    )
    assert lucky_row.verdict.text == "inconclusive: other documents may say otherwise (untuned)"


def test_the_interval_over_documents_is_the_ratio_estimators(make_run: MakeRun, root: Path) -> None:
    """Of the mean gap over seeds, for all rows at once; in bits per byte, and in nats where these decide."""
    fill(make_run, {"good": -0.1, "bad": 0.1})
    random, gaps = np.random.default_rng(1), []
    for seed in range(4):
        nats = {variant: random.normal(170, 3, 30) for variant in ("base", "good", "bad")}
        for variant, of in nats.items():
            scored(root / "study" / variant / arm(variant)[:8] / f"s{seed}", list(of))
        gaps.append(nats["good"] - nats["base"])
    gap = np.mean(gaps, 0)
    error = math.sqrt(30 / 29 * ((gap - gap.mean()) ** 2).sum()) / 3000
    for metric, unit in (("bpb", math.log(2)), ("nats_per_byte", 1.0)):
        interval = found(compare(root, "study", rows_of("base", "good", "bad", rule=Rule(metric))), "good").interval
        assert interval is not None
        assert interval.documents_half == pytest.approx(critical(0.95, 2, 29) * error / unit, rel=1e-5)


@pytest.mark.parametrize(("count", "large", "said"), [(19, 1, 19), (20, 1, None), (20, 4, None), (20, 5, 20)])
def test_too_few_documents_are_said(make_run: MakeRun, root: Path, count: int, large: int, said: int | None) -> None:
    """Or one of more than a fifth of all bytes."""
    fill(make_run, {"good": -0.1})
    size = np.array([100 * large] + [100] * (count - 1))
    hashes = np.random.default_rng(0).integers(0, 256, (count, 16), np.uint8)
    for variant, bpb in (("base", 2.5), ("good", 2.4)):
        for seed in range(4):
            path = root / "study" / variant / arm(variant)[:8] / f"s{seed}" / "documents.npz"
            write_documents(path, Documents(hashes, size, {"exact": bpb * math.log(2) * size}))
    table = compare(root, "study", rows_of("base", "good"))
    interval = found(table, "good").interval
    assert interval is not None
    assert interval.documents == said
    assert (interval.documents_half is None) is (said is not None)
    assert texts(table)["good"] == (f"better on these {said} documents (untuned)" if said else "better (untuned)")
