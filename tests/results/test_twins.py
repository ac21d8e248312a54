"""An arm that has two names is evidence once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lllm.results.compare import Expected, compare
from tests.results.conftest import FINGERPRINTS, MakeRun, arm
from tests.results.tables import BASE, SLIGHT, fill, found, rows_of, texts


def test_the_same_model_under_another_name_is_no_better(make_run: MakeRun, root: Path) -> None:
    """Bit for bit the same runs have no spread: what rounding leaves of the difference is none."""
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
    assert table.family == once.family
    for name in ("good", "bad"):
        assert found(table, name).interval == found(once, name).interval
    assert found(table, "copy").interval == found(once, "good").interval
    assert texts(table)["copy"] == "better (untuned)"
    none = found(table, "none").interval
    assert none is not None
    assert (none.difference, none.half, none.p, none.n) == (0.0, 0.0, 1.0, 4)
    assert texts(table)["none"] == "inconclusive: no difference (untuned)"


def test_an_arm_of_two_names_needs_its_seeds_under_both(make_run: MakeRun, root: Path) -> None:
    fill(make_run, {"good": -0.1})
    whole = compare(root, "study", rows_of("base", "good"))
    for seed in (0, 1):
        make_run("copy", seed, BASE[seed] - 0.1 + SLIGHT[seed], identity=arm("good"))
    table = compare(root, "study", twins(rows_of("base", "copy", "good"), copy="good"))
    assert table.family == whole.family
    assert texts(table)["copy"] == "no verdict: 2 of 4 planned"
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
