"""A whole table judged: intervals, the floor, verdicts and their terms, looks that are counted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lllm.results.columns import columns_of
from lllm.results.compare import compare
from lllm.results.documents import Documents, write_documents
from lllm.results.footnotes import footnotes
from lllm.results.rule import Rule
from lllm.results.statistics.family import compare_all
from lllm.results.statistics.paired import holm, paired
from tests.results.conftest import FINGERPRINTS, MakeRun, arm
from tests.results.tables import BASE, SLIGHT, fill, found, rows_of, texts


def test_better_worse_and_the_same(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1, "bad": 0.1, "same": 0.0})
    table = compare(root, "study", rows_of("base", "good", "bad", "same"))
    assert texts(table) == {
        "base": "baseline",
        "good": "better (untuned)",
        "bad": "worse (untuned)",
        "same": "inconclusive: within the noise floor (untuned)",
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
    pairs = [paired(values[name], values["base"]) for name in ("good", "bad")]
    corrected = holm([pair.p for pair in pairs if pair.p is not None])
    for i, name in enumerate(("good", "bad")):
        interval = found(table, name).interval
        assert interval is not None
        mine = family.comparisons[name]
        assert (interval.difference, interval.half, interval.p, interval.n) == (mine.difference, mine.half, mine.p, 4)
        assert (interval.paired_half, interval.holm_p) == (pairs[i].half, corrected[i])


def test_a_clear_difference_below_the_floor_is_none(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    table = compare(root, "study", rows_of("base", "good", rule=Rule(floor=0.2)))
    assert texts(table)["good"] == "inconclusive: within the noise floor (untuned)"
    assert (table.floor and table.floor.source) == "given"


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


def noise(root: Path, sd: float, **changes: Any) -> None:
    entry = {
        "metric": "bpb", "arm": arm("base"), **FINGERPRINTS, "seeds": [0, 1, 2], "values": [2.5 - sd, 2.5, 2.5 + sd],
        "mean": 2.5, "sd": sd, "low": sd / 2, "high": 2 * sd, **changes,
    }  # fmt: skip
    (root / "study" / "noise.json").write_text(json.dumps([entry]))


def test_unequal_variances_ask_more_of_a_verdict(make_run: MakeRun, root: Path) -> None:
    """A row that jumps about would borrow the others' small spread; its own seeds alone do not decide."""
    jumps = (0.05, 0.12, 0.02)
    for seed in range(3):
        make_run("base", seed, BASE[seed])
        for i in range(5):
            make_run(f"calm{i}", seed, BASE[seed] + SLIGHT[(seed + i) % 4])
        make_run("wild", seed, BASE[seed] + jumps[seed])
    table = compare(root, "study", rows_of("base", "wild", *(f"calm{i}" for i in range(5)), rule=Rule(floor=0.0)))
    assert table.family is not None
    assert table.family.homogeneity is not None
    assert table.family.homogeneity < 0.05
    assert any("variances differ" in note for note in footnotes(table))
    wild = found(table, "wild")
    assert wild.interval is not None
    assert wild.interval.p is not None
    assert wild.interval.p <= 0.05  # pooled, it would be called worse
    assert wild.verdict.text.startswith("inconclusive: variances differ")
    alone = compare(root, "study", rows_of("base", "calm0"))  # of one comparison, the paired test, nothing is pooled
    assert alone.family is not None
    assert alone.family.homogeneity is None


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


def test_stored_noise_is_the_floor_where_it_fits(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    noise(root, 0.06)
    table = compare(root, "study", rows_of("base", "good"))
    assert table.floor is not None
    assert (table.floor.value, table.floor.source) == (pytest.approx(0.12), "2 sd of 3 seeds of the baseline")
    assert found(table, "good").verdict.word == "inconclusive"
    noise(root, 0.06, evaluator="9" * 32)
    table = compare(root, "study", rows_of("base", "good"))
    assert (table.floor and table.floor.source) == "2 sd of the rows' own seeds"
    assert found(table, "good").verdict.word == "better"


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
    assert even.interval.evaluation == pytest.approx(0.0, abs=1e-6)
    assert lucky_row.verdict.text == "inconclusive: other documents may say otherwise (untuned)"
