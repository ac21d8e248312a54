"""What must be equal of two rows before one is called better, and what of it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.results.compare import compare
from lllm.results.footnotes import footnotes
from lllm.results.rule import Rule
from tests.results.conftest import MakeRun
from tests.results.tables import BASE, SLIGHT, rows_of, texts

SEVERAL = "not comparable: timed on other machines or threads"


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


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (1.01, "better (at equal time) (untuned)"),
        (1.1, "better (at 1.10x the time) (untuned)"),
        (0.9, "better (at 0.90x the time) (untuned)"),
        (1.3, "not comparable: other budget, 6.10x the bytes, 4.50x the FLOPs, 1.30x the time"),
        (0.7, "not comparable: other budget, 6.10x the bytes, 4.50x the FLOPs, 0.70x the time"),
    ],
)
def test_equal_seconds_are_an_equal_budget_where_about_as_many_were_spent(
    make_run: MakeRun, root: Path, ratio: float, said: str
) -> None:
    more = {"train_bytes": 99999, "train_flops": 9e11, "seconds": 38.25 * ratio}
    for seed in range(3):
        make_run("base", seed, BASE[seed], budget={"seconds": 6.0})
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], results=more, budget={"seconds": 6.0})
    assert texts(compare(root, "study", rows_of("base", "row")))["row"] == said


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


@pytest.mark.parametrize(("shared", "said"), [((True, True), "worse"), ((False, True), "not comparable: only one")])
def test_times_are_compared_when_both_or_none_shared_the_machine(
    make_run: MakeRun, root: Path, shared: tuple[bool, bool], said: str
) -> None:
    rule = Rule(metric="bytes_per_second", better="higher")
    for seed in range(3):
        for variant, share, speed in zip(("base", "row"), shared, (900.0, 800.0), strict=True):
            results = {"bytes_per_second": speed + 1000 * SLIGHT[seed] * len(variant), "shared_timing": share}
            make_run(variant, seed, results=results)
    assert texts(compare(root, "study", rows_of("base", "row", rule=rule)))["row"].startswith(said)


def test_sizes_that_differ_are_said(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed])
        make_run("large", seed, BASE[seed] - 0.1 + SLIGHT[seed], results={"parameters": 2_620_000})
    assert texts(compare(root, "study", rows_of("base", "large")))["large"] == "better (2.00x the parameters) (untuned)"


@pytest.mark.parametrize(
    ("flops", "said"),
    [
        (3.0e11, "better (1.50x the FLOPs) (untuned)"),
        (1.0e11, "better (0.50x the FLOPs) (untuned)"),
        (2.05e11, "better (untuned)"),
    ],
)
def test_flops_that_differ_at_equal_bytes_are_said(make_run: MakeRun, root: Path, flops: float, said: str) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed])
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], results={"train_flops": flops})
    assert texts(compare(root, "study", rows_of("base", "row")))["row"] == said


def test_rows_that_scored_other_targets_are_not_compared(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], results={"targets": "a" * 32})
        make_run("same", seed, BASE[seed] - 0.1 + SLIGHT[seed], results={"targets": "a" * 32})
        make_run("quarter", seed, BASE[seed] - 0.1 + SLIGHT[seed], results={"targets": "b" * 32})
        make_run("unknown", seed, BASE[seed] - 0.1 + SLIGHT[seed])
    found = texts(compare(root, "study", rows_of("base", "same", "quarter", "unknown")))
    assert found["same"].startswith("better")
    assert found["quarter"] == found["unknown"] == "not comparable: other targets"


def test_a_row_never_averages_other_targets(make_run: MakeRun, root: Path) -> None:
    for seed in range(4):
        make_run("base", seed, BASE[seed % 3], results={"targets": "ab"[seed % 2] * 32})
    rows = compare(root, "study", rows_of("base")).rows
    assert sorted(len(row.seeds) for row in rows) == [2, 2]


@pytest.mark.parametrize(("documents", "said"), [("d", "better"), ("e", "not comparable: other documents")])
def test_tokenizers_are_compared_on_the_same_documents(
    make_run: MakeRun, root: Path, documents: str, said: str
) -> None:
    known = {"code": "c" * 32, "evaluator": "e" * 32}
    for seed in range(3):
        one = {**known, "data": "1" * 32, "documents": "d" * 32}
        make_run("base", seed, BASE[seed], fingerprints={"arm": "", **one}, results={"bytes_per_row": 250.0})
        other = {**known, "data": "2" * 32, "documents": documents * 32}
        lower = BASE[seed] - 0.1 + SLIGHT[seed]
        make_run("row", seed, lower, fingerprints={"arm": "", **other}, results={"bytes_per_row": 800.0})
    found = compare(root, "study", rows_of("base", "row"))
    assert texts(found)["row"].startswith(said)
    assert any("250 (base), 800 (row) bytes" in note for note in footnotes(found))


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "better (untuned)"), (0.01, "better (untuned)"), (0.23, "validation is in training: 23% of its bytes")],
)
def test_validation_that_training_has_decides_nothing(make_run: MakeRun, root: Path, share: float, said: str) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], results={"overlap": share})
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], results={"overlap": share})
    found = compare(root, "study", rows_of("base", "row"))
    assert texts(found)["row"] == said
    assert any(note.startswith(f"Overlap: {share:.1%} of the evaluated bytes") for note in footnotes(found))
