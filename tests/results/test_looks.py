"""Seeds that were added until the verdict was in are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.results.compare import compare
from lllm.results.rule import Rule
from lllm.results.statistics.family import compare_all
from lllm.results.statistics.sequential import look_level
from tests.results.conftest import MakeRun
from tests.results.tables import SLIGHT, fill, found, rows_of, texts


def test_what_lies_beyond_the_last_look_is_not_judged(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.004}, seeds=3, looks={"most": 3})
    before = compare(root, "study", rows_of("base", "good"))
    for seed in (3, 4):
        make_run("base", seed, 2.5)
        make_run("good", seed, 2.3)
    after = compare(root, "study", rows_of("base", "good"))
    assert found(after, "good").verdict == found(before, "good").verdict
    assert after.family == before.family


def test_a_row_whose_seeds_lie_beyond_the_last_look_has_no_verdict(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1}, seeds=3, looks={"most": 3})
    for seed in (3, 4):
        make_run("base", seed, 2.5)
        make_run("late", seed, 2.3 + SLIGHT[seed - 3], looks={"most": 3})
    table = compare(root, "study", rows_of("base", "good", "late"))
    assert texts(table)["late"] == "no verdict: its seeds lie beyond the last look"
    assert texts(table)["good"].startswith("better")


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


def test_looks_of_the_baseline_do_not_excuse_a_row_at_chosen_seeds(make_run: MakeRun, root: Path) -> None:
    looks = {"planned": None, "looks": {"most": 8}}
    for seed in range(8):
        make_run("base", seed, 2.5 + SLIGHT[seed % 4], **looks)
        if seed != 3:
            make_run("together", seed, 2.4 + SLIGHT[(seed + 1) % 4], **looks)
    for seed in (0, 1, 2, 4):
        make_run("good", seed, 2.4 + SLIGHT[(seed + 1) % 4], planned=[0, 1, 2, 4])
    found = texts(compare(root, "study", rows_of("base", "good", "together")))
    assert found["good"] == "no verdict: 4 of 5 planned"
    assert found["together"].startswith("better")
