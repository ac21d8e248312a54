"""Two experiments: what they ask, what their variants are, what came out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lllm.results.committed import load_records
from lllm.results.compare import Expected, tabulate
from lllm.results.diff import Defined, diff_experiments
from lllm.results.rule import Rule
from tests.results.conftest import CONFIG, FINGERPRINTS, MakeRun, arm

QUESTION = {"hypothesis": "a", "seeds": [0, 1], "budget": {"steps": 4}, "decide": {"metric": "bpb"}}


def variant(name: str, identity: str = "", config: Any = CONFIG, rule: Rule | None = None, **changes: str) -> Expected:
    fingerprints = {**FINGERPRINTS, **changes}
    return Expected(
        name, arm(identity or name), name == "flat", rule or Rule(), fingerprints=fingerprints, config=config
    )


def defined(root: Path, name: str, *variants: Expected, **question: Any) -> Defined:
    rows = tabulate(load_records(root, name), name, variants).rows
    return Defined(name, {**QUESTION, **question}, variants, rows)


def test_an_experiment_is_itself(make_run: MakeRun, root: Path) -> None:
    for seed, bpb in enumerate((2.5, 2.75)):
        make_run("flat", seed, bpb)
    one = defined(root, "study", variant("flat"), variant("small"))
    found = diff_experiments(one, one)
    assert found.same
    flat, small = found.results
    assert flat["a"] == flat["b"]
    assert (flat["a"]["metric"], flat["a"]["mean"], flat["a"]["n"], flat["a"]["stale"]) == ("bpb", 2.625, 2, False)
    assert flat["a"]["sd"] == pytest.approx(0.25 / 2**0.5)
    assert (flat["difference"], flat["other"]) == (0.0, [])
    assert (small["a"]["mean"], small["a"]["sd"], small["a"]["n"], small["difference"]) == (None, None, 0, None)
    json.dumps(asdict(found))


def test_question_variants_and_settings(root: Path) -> None:
    def config(lr: float, depth: int, steps: int) -> Any:
        trunk = {"use": "stack", "depth": depth}
        return {"model": {**CONFIG["model"], "trunk": trunk}, "train": {"lr": lr}, "budget": {"steps": steps}}

    a = defined(root, "a", *(variant(name, config=config(0.002, 4, 4)) for name in ("flat", "small", "old")))
    b = defined(
        root,
        "b",
        variant("flat", config=config(0.001, 4, 8)),
        variant("new"),
        variant("small", config=config(0.001, 6, 8)),
        hypothesis="b",
        seeds=[0, 1, 2],
        budget={"steps": 8},
        match={"params": 0.01},
    )
    found = diff_experiments(a, b)
    assert found.question == [
        {"path": "budget.steps", "a": 4, "b": 8},
        {"path": "hypothesis", "a": "a", "b": "b"},
        {"path": "match.params", "b": 0.01},
        {"path": "seeds", "a": [0, 1], "b": [0, 1, 2]},
    ]
    assert (found.only_a, found.only_b) == (("old",), ("new",))
    assert found.everywhere == [{"path": "train.lr", "a": 0.002, "b": 0.001}]  # the budget is in the question
    assert found.variants == {"small": [{"path": "model.trunk.depth", "a": 4, "b": 6}]}
    assert [result["variant"] for result in found.results] == ["flat", "small"]
    assert not found.same


def test_results_side_by_side_say_whether_they_are_of_the_same_thing(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.5, experiment="a")
    make_run("flat", 0, 2.25, experiment="b", identity=arm("longer"))
    plain = defined(root, "a", variant("flat"))
    found = diff_experiments(plain, defined(root, "b", variant("flat", "longer")))
    (result,) = found.results
    assert result["other"] == ["arm"]
    assert result["difference"] == -0.25
    assert result["b"]["sd"] is None
    other = {**FINGERPRINTS, "data": "f" * 32}
    make_run("flat", 0, 2.0, experiment="c", fingerprints={"arm": arm("flat"), **other})
    (result,) = diff_experiments(plain, defined(root, "c", variant("flat", data="f" * 32))).results
    assert (result["other"], result["b"]["mean"], result["difference"]) == (["data"], 2.0, None)
    (result,) = diff_experiments(plain, defined(root, "c", variant("flat", data="0" * 32))).results
    assert (result["b"]["mean"], result["b"]["n"], result["b"]["stale"]) == (None, 0, True)


def test_numbers_by_which_two_experiments_decide(make_run: MakeRun, root: Path) -> None:
    for name in ("a", "b"):
        make_run("flat", 0, 2.5, experiment=name, results={"metrics": {"recall": 0.75}})
    recall = Rule(metric="recall", better="higher")
    (result,) = diff_experiments(
        defined(root, "a", variant("flat")), defined(root, "b", variant("flat", rule=recall))
    ).results
    assert (result["a"]["metric"], result["b"]["metric"]) == ("bpb", "recall")
    assert (result["a"]["mean"], result["b"]["mean"], result["difference"]) == (2.5, 0.75, None)
    assert result["other"] == []
