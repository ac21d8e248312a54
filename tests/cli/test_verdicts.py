"""Verdicts by the commands that a user types: planted differences are found, planted unfairness is not believed."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Verb, project
from tests.train import toys_measures

PLANTED = """
hypothesis: A model that learns predicts better than one that hardly does; the same model is the same.
base: tiny
model.head: parallel
train.lr: 1e-5
variants:
  base: {}
  learns: {train.lr: 0.02}
  same: {train.lr: 1.001e-5}
  twice: {train.lr: 0.02, budget: {steps: 16}}
  as_many_flops: {train.lr: 0.02, model.trunk.depth: 3, budget: {flops: base}}
  other_text: {train.lr: 0.02, corpus.path: other.txt}
  other_evaluator: {train.lr: 0.02, eval: {bytes: 900}}
  no_likelihood: {train.lr: 0.02, model.head: toy_samples}
seeds: [0, 1, 2]
budget: {steps: 8}
"""
PLUGIN = Path(str(toys_measures.__file__))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    project(folder)
    (folder / "experiments" / "planted.yaml").write_text(PLANTED)
    return folder


@pytest.fixture
def table(planted: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb) -> dict[str, Any]:
    """variant -> its row; trained by the first test that asks."""
    monkeypatch.chdir(planted)
    done = verb("run", "planted", "--plugin", PLUGIN, "--json")
    assert done.code == 0, done.err
    return {row["variant"]: row for row in json.loads(done.out)["comparison"]["rows"]}


def test_planted_differences_and_planted_unfairness(table: dict[str, Any]) -> None:
    words = {variant: row["verdict"]["word"] for variant, row in table.items()}
    assert words == {
        "base": "baseline",
        "learns": "better",
        "same": "inconclusive",
        "twice": "not comparable",
        "as_many_flops": "better",
        "other_text": "not comparable",
        "other_evaluator": "not comparable",
        "no_likelihood": "not comparable",
    }
    assert re.match(r"not comparable: other budget, (1.9\d|2.0\d)x the bytes", table["twice"]["verdict"]["text"])
    said = table["as_many_flops"]["verdict"]["text"]
    assert said.startswith("better")
    assert said.endswith(" (at equal FLOPs) (1.34x the parameters) (untuned)")
    assert table["other_text"]["verdict"]["text"] == "not comparable: other documents"
    assert table["other_evaluator"]["verdict"]["text"] == "not comparable: other evaluator"
    assert table["no_likelihood"]["verdict"]["text"] == "not comparable: no likelihood"


@pytest.mark.usefixtures("table")
def test_formats_columns_and_order(verb: Verb) -> None:
    words = ("compare", "planted", "--plugin", PLUGIN)
    plain = verb(*words)
    assert "±: 0.95 confidence" in plain.out
    assert "loor" not in plain.out
    assert "7 comparisons at once" in plain.out  # the file's, although some of them cannot be judged
    page = verb(*words, "--format", "markdown", "--commit").out
    assert page.startswith("# planted")
    assert page.rstrip() == (Path("results/planted/table.md")).read_text().rstrip()
    rows = list(csv.DictReader(io.StringIO(verb(*words, "--format", "csv").out)))
    assert {row["variant"] for row in rows} >= {"base", "learns"}
    assert float(next(row for row in rows if row["variant"] == "learns")["half"]) > 0
    assert verb(*words, "--format", "json").out == verb(*words, "--json").out
    some = verb(
        *words, "--columns", "variant,± documents,documents_half,verdict", "--sort", "-bpb", "--format", "csv"
    ).out
    assert some.splitlines()[0] == "experiment,variant,documents_half,verdict"
    bpb = [float(line) for line in verb(*words, "--columns", "bpb", "--sort", "bpb").out.splitlines()[2:6]]
    assert bpb == sorted(bpb)


@pytest.mark.usefixtures("table")
def test_bad_input(verb: Verb) -> None:
    words = ("compare", "planted", "--plugin", PLUGIN)
    done = verb(*words, "--columns", "variant,verdikt")
    assert (done.code, done.out) == (2, "")
    assert "--columns verdikt: no such column; did you mean 'verdict'" in done.err
    assert "--sort bbp: no such column; did you mean 'bpb'" in verb(*words, "--sort", "bbp").err
    done = verb(*words, "--verdict")
    assert done.code == 2
    assert "row 'twice': not comparable: other budget" in done.err


def test_one_seed_asked_for_a_verdict(planted: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb) -> None:
    monkeypatch.chdir(planted)
    (planted / "experiments" / "single.yaml").write_text(PLANTED.replace("[0, 1, 2]", "[0]"))
    assert verb("run", "single", "base", "learns", "--plugin", PLUGIN).code == 0
    done = verb("compare", "single", "--plugin", PLUGIN, "--verdict")
    assert done.code == 2
    assert "row 'learns': no verdict: 1 of 3 planned" in done.err  # begun with three elsewhere


def test_a_metric_decides_or_is_refused_before_any_run(
    planted: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.chdir(planted)
    metric = PLANTED.replace("seeds:", "decide: {metric: %s, floor: 0}\nseeds:")
    (planted / "experiments" / "metric.yaml").write_text(metric % "distnace")
    done = verb("run", "metric", "no_likelihood", "--plugin", PLUGIN)
    assert done.code == 2
    assert "decide.metric = 'distnace': runs of variant 'no_likelihood' will not have it" in done.err
    assert "did you mean 'distance'" in done.err
    (planted / "experiments" / "metric.yaml").write_text(metric % "distance")
    done = verb("run", "metric", "no_likelihood", "--plugin", PLUGIN)
    assert done.code == 2
    assert "decide.metric = 'distance': which is better is not known; expected better as well, as in " in done.err
    assert not (planted / "results" / "metric").exists()
    (planted / "experiments" / "metric.yaml").write_text(metric % "distance, better: lower")
    assert verb("run", "metric", "no_likelihood", "--plugin", PLUGIN, "--dry-run").code == 0
