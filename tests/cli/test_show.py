"""`lllm list` and `lllm show`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lllm
from lllm.results.records import flatten
from tests.cli.conftest import Verb

pytestmark = pytest.mark.usefixtures("inside")


def test_parts_are_listed_with_where_they_come_from(verb: Verb) -> None:
    parts = json.loads(verb("list", "parts", "--json").out)
    assert {part["source"] for part in parts} == {"shipped"}
    assert {"mixer", "head", "corpus", "launcher"} <= {part["kind"] for part in parts}
    assert verb("list").out == verb("list", "parts").out


def test_experiments_and_variants_are_listed(verb: Verb) -> None:
    found = {line["name"]: line for line in json.loads(verb("list", "experiments", "--json").out)}
    assert found["tiny"]["source"] == "working directory"
    assert found["quickstart"]["source"] == "shipped"
    assert "Four steps of a tiny model" in verb("list", "experiments").out
    variants = json.loads(verb("list", "variants", "tiny", "--json").out)
    assert [(line["variant"], line["baseline"]) for line in variants] == [("flat", True), ("four", False)]
    assert variants[0]["deltas"]["model.ratio"] == 1
    assert "model.ratio=1, model.downsampler=identity" in verb("list", "variants", "tiny").out


def test_an_experiment_that_cannot_be_read_is_listed_with_its_problem(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/bad.yaml").write_text("hypothesis: x\nhypothesis: y\n")
    monkeypatch.chdir(tmp_path)
    done = verb("list", "experiments")
    assert done.code == 0
    assert "bad.yaml:2" in done.out


def test_runs_are_listed(verb: Verb) -> None:
    assert {run["variant"] for run in json.loads(verb("list", "runs", "--json").out)} == {"flat", "four"}
    assert verb("list", "runs").out.count("finished") == 2


def test_an_experiment_is_shown(verb: Verb) -> None:
    shown = json.loads(verb("show", "tiny", "--json").out)
    assert shown["budget"] == {"steps": 4}
    assert shown["variants"]["four"] == {"model.head": "parallel"}
    text = verb("show", "tiny").out
    assert "Four steps of a tiny model" in text
    assert "steps: 4" in text


def test_the_tree_says_what_the_model_says(verb: Verb) -> None:
    (shown,) = json.loads(verb("show", "tiny", "four", "--json").out)
    loaded = lllm.load("tiny/four")
    whole = shown["nodes"][0]
    assert whole["parameters"] == sum(p.numel() for p in loaded.model.parameters())
    assert shown["arm"] == loaded.run.arm
    assert shown["totals"]["parameters"] == whole["parameters"]
    assert shown["totals"]["train_flops_per_token"] == pytest.approx(3 * whole["flops_per_token"])
    by_path = {node["path"]: node for node in shown["nodes"]}
    assert by_path["embedding"]["rate"] == 1
    assert by_path["trunk"]["rate"] == 0.25
    settings = flatten(shown["settings"])
    assert settings["model.width"] == 16
    assert "model.ratio" not in settings  # at its default


def test_the_tree_shows_differences_from_the_baseline(verb: Verb) -> None:
    flat, four = (json.loads(verb("show", "tiny", v, "--json").out)[0]["totals"] for v in ("flat", "four"))
    text = verb("show", "tiny", "four").out
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["model"].split()[1] == "1"
    assert f"{four['parameters'] / flat['parameters'] - 1:+.1%}" in lines["model"]
    assert lines["downsampler:"].split()[2] == "1/4"
    assert "new" in lines["downsampler:"]
    itself = verb("show", "tiny", "flat").out
    assert "%" not in itself


def test_overrides_are_beside_the_baseline_as_it_stands(verb: Verb) -> None:
    (wide,) = json.loads(verb("show", "tiny", "flat", "model.width=32", "--json").out)
    assert wide["totals"]["parameters"] > wide["baseline_totals"]["parameters"]
    (only,) = json.loads(verb("show", "tiny", "model.width=32", "flat", "--json").out)
    assert only == wide
    assert len(json.loads(verb("show", "tiny", "model.width=32", "--json").out)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "tinny"], "unknown part or experiment 'tinny'; did you mean 'tiny'?"),
        (["show", "mixer/atention"], "did you mean 'mixer/attention'?"),
        (["show", "absent.yaml"], "no such file"),
        (["show", "tiny", "fuor"], "no variant 'fuor'; did you mean 'four'?"),
        (["show", "tiny", "four", "model.widht=2"], "unknown key 'widht'; did you mean 'width'?"),
        (["show", "tiny", "four", "model.ratio=0"], "model.ratio = 0"),
        (["show", "attention", "four"], "unknown experiment 'attention'"),
        (["list", "variants"], "list variants: expected the name of an experiment"),
        (["list", "variants", "tinny"], "unknown experiment 'tinny'; did you mean 'tiny'?"),
        (["list", "runs", "tiny"], "'tiny' is one word too many"),
        (["list", "experimens"], "did you mean 'experiments'?"),
    ],
)
def test_bad_input(verb: Verb, arguments: list[str], message: str) -> None:
    done = verb(*arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert done.err.count("\n") == 1


def test_a_name_that_is_a_part_and_an_experiment(verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/attention.yaml").write_text("hypothesis: x\nbudget: {steps: 1}\n")
    monkeypatch.chdir(tmp_path)
    done = verb("show", "attention")
    assert done.code == 2
    assert "expected mixer/attention, or the experiment's file" in done.err
    assert verb("show", "mixer/attention").code == 0
    assert verb("show", "experiments/attention.yaml").code == 0


HALF = '''
from lllm.registry import register
from lllm.train.contracts import Schedule

@register("schedule", "half")
class Half(Schedule):
    """Lacks a factor."""
'''


def test_a_part_that_lacks_a_method_is_no_part_and_its_file_is_named(
    verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry").mkdir()
    path = tmp_path / "registry/half.py"
    path.write_text(HALF)
    monkeypatch.chdir(tmp_path)
    reason = (
        f"{path}: TypeError: @register('schedule', 'half'): Half does not define factor, which its contract Schedule"
    )
    shown = verb("show", "half")
    assert shown.code == 2
    assert f"(could not be imported: {reason} asks for)" in shown.err
    listed = verb("list", "parts")
    assert f"failed: {reason} asks for\n" in listed.out
    assert "half" not in {part["name"] for part in json.loads(verb("list", "parts", "--json").out)}
