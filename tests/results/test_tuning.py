"""A verdict says how its rows were tuned wherever that was not equal, or not on the terms of these runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lllm.results.columns import columns_of
from lllm.results.compare import compare
from lllm.results.verdict import other_terms
from tests.results.conftest import MakeRun
from tests.results.tables import BASE, SLIGHT, rows_of, texts

OWN = {"budget": {"steps": 4}, "data": "data0", "evaluator": "eval0", "code": "code0"}


def test_other_terms_are_named_and_what_is_not_known_is_not() -> None:
    assert other_terms(OWN, OWN) == ""
    assert other_terms({}, OWN) == ""
    assert other_terms({"budget": {"steps": 4}}, OWN) == ""
    assert other_terms({**OWN, "budget": {"bytes": 3}}, OWN) == "at budget bytes=3"
    told = other_terms({**OWN, "budget": {"steps": 5}, "data": "x", "evaluator": "y", "code": "z"}, OWN)
    assert told == "at budget steps=5 and on other data and by another evaluator and with other code of its parts"


SHORT = {"budget": {"steps": 3}}


@pytest.mark.parametrize(
    ("base", "row", "said"),
    [
        ({}, {}, "better"),
        ({"trained": 5}, {"trained": 5}, "better"),
        ({"trained": 3}, {"trained": 7}, "better (8 trials each, 7 trained against 3)"),
        ({"trained": 8}, {"trained": 8, "trials": 9}, "better (9 trials against 8)"),
        ({}, {"terms": SHORT}, "better (tuned at budget steps=3)"),
        ({"terms": SHORT}, {}, "better (the baseline tuned at budget steps=3)"),
        ({"terms": SHORT}, {"terms": SHORT}, "better (tuned at budget steps=3)"),
        ({"terms": {"data": "x"}}, {"terms": SHORT}, "better (tuned at budget steps=3, the baseline on other data)"),
        ({"terms": {"budget": {"steps": 4}}}, {"terms": {"budget": {"steps": 4}}}, "better"),
    ],
)
def test_unequal_tuning_is_said(
    make_run: MakeRun, root: Path, base: dict[str, Any], row: dict[str, Any], said: str
) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], tuned={"trials": 8, "fields": {}, **base})
        make_run("row", seed, BASE[seed] - 0.1 + SLIGHT[seed], tuned={"trials": 8, "fields": {}, **row})
    table = compare(root, "study", rows_of("base", "row"))
    assert texts(table)["row"] == said


@pytest.mark.parametrize(("trained", "shown"), [({}, "8"), ({"trained": 8}, "8"), ({"trained": 3}, "8 (3 runs)")])
def test_trials_that_trained_nothing_of_their_own_are_told(
    make_run: MakeRun, root: Path, trained: dict[str, int], shown: str
) -> None:
    make_run("base", tuned={"trials": 8, "fields": {}, **trained})
    table = compare(root, "study", rows_of("base"))
    [trials] = [column for column in columns_of(table) if column.key == "trials"]
    assert trials.cell(table.rows[0]) == shown
