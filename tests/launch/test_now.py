"""What an experiment's file defines at this moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.errors import UserError
from lllm.launch.now import experiment_now, variant_now
from lllm.results.diff import diff_now
from lllm.results.run import Run
from tests.launch.helpers import TINY, Place

DESIGNED = """\
design: add_one_in
stack:
  large: {train.batch: 8}
  slow: {train.lr: 1e-4}
seeds: [0, 1]
match: {params: 20%}
decide: {metric: bpb, floor: 0.01}
search: {train.lr: {low: 1e-4, high: 1e-2, log: true}, model.trunk.depth: [1, 2]}
"""


def test_a_variant_now_is_the_run_that_would_begin(place: Place) -> None:
    plan = place.plan()
    fine, watch = place.train(plan)
    assert fine, watch.ends
    run = Run(plan.runs[0].path)
    assert diff_now(run, variant_now("tiny", "base")).sections == {}
    place.write(TINY.replace("batch: 4", "batch: 8"))
    found = diff_now(run, variant_now("tiny", "base")).sections
    assert found["config"] == [{"path": "train.batch", "a": 4, "b": 8}]
    assert {entry["path"] for entry in found["fingerprints"]} == {"arm"}
    assert {"arm", "sizes.bytes_per_step"} <= {entry["path"] for entry in found["run"]}


def test_a_budget_of_time_has_no_steps_yet(place: Place) -> None:
    place.write(TINY.replace("{steps: 6}", "{seconds: 1}"))
    assert "steps" not in variant_now("tiny", "base").info


def test_an_experiment_now(place: Place) -> None:
    place.write(TINY + DESIGNED, "designed")
    found = experiment_now("designed", Path("results"))
    assert Path(found.name).name == "designed.yaml"
    question = dict(found.question)
    search = question.pop("search")
    assert question == {
        "hypothesis": "a test",
        "baseline": found.expected[0].variant,
        "seeds": [0, 1],
        "budget": {"steps": 6},
        "match": {"params": pytest.approx(0.2)},
        "decide": {"metric": "bpb", "level": 0.95, "power": 0.8, "floor": 0.01, "better": "lower"},
        "design": "add_one_in",
    }
    assert list(search) == ["train.lr", "model.trunk.depth"]
    assert "0.0001" in search["train.lr"]
    assert len(found.expected) == len(found.rows) == 3
    assert all(row.values == {} for row in found.rows)


def test_what_is_not_there_is_one_sentence(place: Place) -> None:
    with pytest.raises(UserError, match="unknown experiment 'tony'; did you mean 'tiny'"):
        experiment_now("tony", Path("results"))
    with pytest.raises(UserError, match="unknown variant 'bass'; did you mean 'base'"):
        variant_now("tiny", "bass")
