"""A whole table judged: intervals, the floor, verdicts and their terms, looks that are counted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lllm.results.columns import columns_of
from lllm.results.compare import Expected, compare
from lllm.results.documents import Documents, write_documents
from lllm.results.footnotes import footnotes
from lllm.results.rows import Comparison, Row
from lllm.results.rule import Rule
from lllm.results.statistics.family import compare_all
from lllm.results.statistics.paired import holm, paired
from lllm.results.statistics.sequential import look_level
from tests.results.conftest import FINGERPRINTS, MakeRun, arm

BASE = (2.50, 2.51, 2.49, 2.50)
SEVERAL = "not comparable: seconds of several machines"
SLIGHT = (0.002, -0.001, 0.001, -0.002)  # noise of a row around the baseline and its seed


def rows_of(*variants: str, rule: Rule = Rule()) -> list[Expected]:
    return [Expected(name, arm(name), i == 0, rule) for i, name in enumerate(variants)]


def fill(make_run: MakeRun, shifts: dict[str, float], seeds: int = 4, **changes: Any) -> None:
    """A baseline, and variants that differ from it by a shift and a little noise."""
    for seed in range(seeds):
        make_run("base", seed, BASE[seed], **changes)
        for i, (variant, shift) in enumerate(shifts.items()):
            make_run(variant, seed, BASE[seed] + shift + SLIGHT[(seed + i) % 4], **changes)


def found(comparison: Comparison, variant: str) -> Row:
    return next(row for row in comparison.rows if row.variant == variant)


def texts(comparison: Comparison) -> dict[str, str]:
    return {row.variant: row.verdict.text for row in comparison.rows}


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
    ("spent", "said"),
    [
        (
            {"train_bytes": 32768, "train_flops": 4.0e11},
            "not comparable: other budget, 2.00x the bytes, 2.00x the FLOPs",
        ),
        ({"train_bytes": 32768}, "better (at equal FLOPs) (untuned)"),
        ({"train_bytes": 16400}, "better (untuned)"),
    ],
)
def test_budgets_are_equal_in_something_or_not_compared(
    make_run: MakeRun, root: Path, spent: dict[str, float], said: str
) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], steps=400)
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], results=spent, steps=400)
    assert texts(compare(root, "study", rows_of("base", "row")))["row"] == said


@pytest.mark.parametrize(("steps", "said"), [(4, "not comparable: other budget, 2.00x"), (3, "better")])
def test_no_more_than_one_step_is_rounding(make_run: MakeRun, root: Path, steps: int, said: str) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], steps=2, results={"train_bytes": 2000, "train_flops": 2e9})
        spent = {"train_bytes": 1000 * steps, "train_flops": 1e9 * steps}
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], steps=steps, results=spent)
    assert texts(compare(root, "study", rows_of("base", "row")))["row"].startswith(said)


def test_the_same_model_under_another_name_is_no_better(make_run: MakeRun, root: Path) -> None:
    """Bit for bit the same runs have no spread, and so no floor: what rounding leaves of the difference is none."""
    values = [2.0 + float(x) for x in np.random.default_rng(0).random(5)]
    for variant in ("base", "same", "again"):
        for seed, value in enumerate(values):
            make_run(variant, seed, value)
    words = [row.verdict.word for row in compare(root, "study", rows_of("base", "same", "again")).rows]
    assert words == ["baseline", "inconclusive", "inconclusive"]


def twins(table: list[Expected], **same: str) -> list[Expected]:
    """The rows with some of them the arm of another one."""
    return [replace(row, arm=arm(same.get(row.variant, row.variant))) for row in table]


def test_an_arm_of_two_names_is_one_row_of_the_family(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1, "bad": 0.1})
    once = compare(root, "study", rows_of("base", "good", "bad"))
    for seed in range(4):
        make_run("copy", seed, BASE[seed] - 0.1 + SLIGHT[seed], identity=arm("good"))
        make_run("none", seed, BASE[seed], identity=arm("base"))
    names = ("base", "copy", "good", "none", "bad")
    table = compare(root, "study", twins(rows_of(*names), copy="good", none="base"))
    assert (table.family, table.floor) == (once.family, once.floor)
    for name in ("good", "bad"):
        assert found(table, name).interval == found(once, name).interval
    assert found(table, "copy").interval == found(once, "good").interval
    assert texts(table)["copy"] == "better (untuned)"
    none = found(table, "none").interval
    assert none is not None
    assert (none.difference, none.half, none.p, none.n) == (0.0, 0.0, 1.0, 4)
    assert texts(table)["none"] == "inconclusive: within the noise floor (untuned)"


def test_an_arm_of_two_names_has_the_seeds_of_both(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    whole = compare(root, "study", rows_of("base", "good"))
    for seed in (0, 1):
        make_run("copy", seed, BASE[seed] - 0.1 + SLIGHT[seed], identity=arm("good"))
    table = compare(root, "study", twins(rows_of("base", "copy", "good"), copy="good"))
    assert table.family == whole.family
    assert found(table, "copy").interval == found(table, "good").interval
    assert found(table, "good").interval == found(whole, "good").interval


def test_runs_of_one_arm_under_other_code_are_evidence_of_their_own(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1, "bad": 0.1})
    apart = compare(root, "study", rows_of("base", "good", "bad"))
    for seed in range(4):
        changed = {"fingerprints": {"arm": arm("good"), **FINGERPRINTS, "code": "x" * 32}}
        make_run("bad", seed, BASE[seed] + 0.1 + SLIGHT[(seed + 1) % 4], identity=arm("good"), **changed)
    rows = twins(rows_of("base", "good", "bad"), bad="good")
    assert compare(root, "study", rows).family == apart.family


def test_the_baseline_under_another_name_alone_is_no_better(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        for variant in ("base", "same", "again"):
            make_run(variant, seed, BASE[seed], identity=arm("base"))
    table = compare(root, "study", twins(rows_of("base", "same", "again"), same="base", again="base"))
    assert [row.verdict.word for row in table.rows] == ["baseline", "inconclusive", "inconclusive"]


def test_equal_seconds_are_an_equal_budget(make_run: MakeRun, root: Path) -> None:
    more = {"train_bytes": 99999, "train_flops": 9e11}
    for seed in range(3):
        make_run("base", seed, BASE[seed], budget={"seconds": 6.0})
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], results=more, budget={"seconds": 6.0})
    assert texts(compare(root, "study", rows_of("base", "row")))["row"] == "better (at equal time) (untuned)"


@pytest.mark.parametrize(
    ("devices", "said"),
    [("aaa", "better (at equal time) (untuned)"), ("bbb", SEVERAL), ("aab", SEVERAL)],
)
def test_seconds_of_several_machines_are_not_equal(make_run: MakeRun, root: Path, devices: str, said: str) -> None:
    more = {"train_bytes": 99999, "train_flops": 9e11}
    for seed in range(3):
        on = {"device": "a", "threads": 2, "torch": "2.13.0"}
        make_run("base", seed, BASE[seed], budget={"seconds": 6.0}, machine=on)
        on = {**on, "device": devices[seed], "torch": "2.13.1"}
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], results=more, budget={"seconds": 6.0}, machine=on)
    assert texts(compare(root, "study", rows_of("base", "row")))["row"] == said


@pytest.mark.parametrize("device", ["a", "b"])
def test_equal_bytes_are_equal_on_any_machine(make_run: MakeRun, root: Path, device: str) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], machine={"device": "a", "threads": 2})
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], machine={"device": device, "threads": 2})
    assert texts(compare(root, "study", rows_of("base", "row")))["row"] == "better (untuned)"


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


def test_a_rule_that_was_changed_and_seeds_that_were_added_are_said(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], rule={**Rule().written(), "floor": 0.02})
        make_run("good", seed, BASE[seed] - 0.1 + SLIGHT[seed], rule=Rule().written())
    expected = [replace(row, seeds=(0, 1)) for row in rows_of("base", "good")]
    notes = footnotes(compare(root, "study", expected))
    assert "The rule was changed: 3 of these runs were begun under floor=0.02." in notes
    assert "Seeds 2 are not in the file: intervals take their number as fixed before any was looked at." in notes
    same = footnotes(compare(root, "study", rows_of("base", "good")))
    assert not any("not in the file" in note for note in same)


def test_what_lies_beyond_the_last_look_is_not_judged(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.004}, seeds=3, looks={"most": 3})
    before = compare(root, "study", rows_of("base", "good"))
    for seed in (3, 4):
        make_run("base", seed, 2.5)
        make_run("good", seed, 2.3)
    after = compare(root, "study", rows_of("base", "good"))
    assert found(after, "good").verdict == found(before, "good").verdict
    assert after.family == before.family


def test_sizes_that_differ_are_said(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed])
        make_run("large", seed, BASE[seed] - 0.1 + SLIGHT[seed], results={"parameters": 2_620_000})
    assert texts(compare(root, "study", rows_of("base", "large")))["large"] == "better (2.00x the parameters) (untuned)"


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


def test_looks_are_counted(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.004}, seeds=4, looks={"most": 8})
    table = compare(root, "study", rows_of("base", "good"))
    assert table.family is not None
    assert table.family.most == 8
    assert table.family.level == pytest.approx(look_level(0.95, 4, 8))
    plain = compare_all({row.variant: row.values for row in table.rows}, "base")
    interval = found(table, "good").interval
    assert interval is not None
    assert plain is not None
    assert interval.half is not None
    assert interval.half > plain.comparisons["good"].half


def test_what_an_early_look_decided_stays_decided(make_run: MakeRun, root: Path) -> None:
    values = {"base": [2.5, 2.5001, 2.5, 2.5, 2.5], "row": [2.4, 2.4, 2.4, 2.4, 2.6]}
    for variant, numbers in values.items():
        for seed, value in enumerate(numbers):
            make_run(variant, seed, value, looks={"most": 5})
    rule = Rule(floor=0.0)
    looked = found(compare(root, "study", rows_of("base", "row", rule=rule)), "row")
    assert looked.verdict.text == "better (decided with 2 seeds) (untuned)"
    for variant, numbers in values.items():
        for seed, value in enumerate(numbers):
            make_run(variant, seed, value)
    once = found(compare(root, "study", rows_of("base", "row", rule=rule)), "row")
    assert not once.verdict.decided


def test_an_early_look_decides_nothing_that_all_seeds_turn_round(make_run: MakeRun, root: Path) -> None:
    values = {"base": [2.5, 2.5001, 2.5, 2.5, 2.5], "row": [2.4, 2.4, 2.4, 2.4, 3.5]}
    for variant, numbers in values.items():
        for seed, value in enumerate(numbers):
            make_run(variant, seed, value, looks={"most": 5})
    row = found(compare(root, "study", rows_of("base", "row", rule=Rule(floor=0.0))), "row")
    assert row.delta is not None
    assert row.delta > 0
    assert row.verdict.word == "inconclusive"


def test_seeds_of_the_baseline_alone_are_no_look(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.004}, seeds=3, looks={"most": 6})
    before = compare(root, "study", rows_of("base", "good"))
    for seed in (3, 4, 5, 6, 7):
        make_run("base", seed, 2.5)
    after = compare(root, "study", rows_of("base", "good"))
    assert found(after, "good").interval == found(before, "good").interval
    assert after.family == before.family
    assert (after.family and after.family.level) == pytest.approx(look_level(0.95, 3, 6))
