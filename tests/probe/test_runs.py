"""`lllm run` probes before the first step and on the evaluated weights, and trains bit for bit as without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lllm.registry import load_registry
from lllm.results.files import read_metrics
from lllm.results.probed import read_probe, summary
from lllm.results.run import Run
from tests.launch.helpers import Place, outcome
from tests.plants import PLANTS, files
from tests.probe import toys_forgetful


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, monkeypatch)
    place.plugins = [*files(), Path(str(toys_forgetful.__file__))]
    return place


def run(place: Place, *words: str) -> tuple[Path, bool, list[Any]]:
    plan = place.plan(*words, plugins=[str(path) for path in place.plugins])
    fine, watch = place.train(plan)
    return plan.runs[0].path, fine, watch.ends


def test_a_run_is_probed_twice_and_its_summary_says_so(place: Place) -> None:
    path, fine, _ = run(place)
    assert fine
    said = read_probe(path)
    assert set(said) == {"begin", "end"}
    for record in said.values():
        assert record["passed"]
        assert record["findings"]
        assert all(finding["compared"] for finding in record["findings"])
    assert said["begin"]["progress"] == pytest.approx(0.5 / 6)
    assert said["end"]["progress"] == 1
    found = summary(said)
    assert found is not None
    assert found["passed"]
    assert 0 < found["largest"] < 1e-4
    assert found["covered"] == said["end"]["covered"] > 0


@pytest.mark.parametrize("words", [(), ("model.ffn=toy_forgetful",), ("run.micro_batch=1",)])
def test_with_and_without_the_probe_a_run_is_bit_for_bit_the_same(place: Place, words: tuple[str, ...]) -> None:
    probed, fine, ends = run(place, *words)
    assert fine, ends
    other, _, _ = run(place, *words, "run.results=again", "run.probe=false")
    assert read_probe(probed)
    assert not read_probe(other)
    assert summary(read_probe(other)) is None
    assert outcome(probed) == outcome(other)


def test_a_cheat_that_shows_at_once_ends_the_run_before_its_first_step(place: Place) -> None:
    words = ("model.head=plant_spaces",)
    path, fine, ends = run(place, *words)
    assert not fine
    assert Run(path).state == "failed"
    assert "not causal: token" in ends[0][2]
    assert "in place of 'plant_spaces'" in ends[0][2]
    assert "--no-probe" in ends[0][2]
    assert not (path / "result.json").exists()
    found = summary(read_probe(path))
    assert found is not None
    assert not found["passed"]
    (path / "status.json").unlink()  # as if it had been killed before it could say so
    _, fine, ends = run(place, *words)
    assert not fine
    assert "not causal: token" in ends[0][2]
    path, fine, _ = run(place, *words, "run.probe=false", "run.results=again")
    assert fine
    assert read_probe(path) == {}


def test_what_the_first_of_two_processes_finds_ends_both(place: Place) -> None:
    path, fine, ends = run(place, "model.head=plant_spaces", "run.nproc=2")
    assert not fine
    assert "not causal: token" in ends[0][2]
    assert Run(path).state == "failed"
    assert not (path / "result.json").exists()
    assert read_metrics(path / "metrics.jsonl") == []


def test_a_cheat_that_shows_in_trained_weights_only_fails_the_last_probe(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    plant = next(plant for plant in PLANTS.values() if plant.last)
    words = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in plant.overrides.items()
    ]
    path, fine, _ = run(place, *words, "data.context=256")
    assert fine
    said = read_probe(path)
    assert said["begin"]["passed"]
    assert not said["end"]["passed"]
    found = summary(said)
    assert found is not None
    assert not found["passed"]
    assert "token" in found["text"]


def test_a_run_is_probed_later_by_its_own_code_alone(place: Place) -> None:
    part = place.path / "registry" / "ffns" / "mine.py"
    part.parent.mkdir(parents=True)
    shipped = load_registry().get("ffn", "relu2").path.read_text()
    part.write_text(shipped.replace('"relu2"', '"mine"'))
    path, fine, _ = run(place, "model.ffn=mine", "run.probe=false")
    assert fine
    part.write_text(part.read_text() + "\nEDITED = True\n")
    code, _, said = place.lllm("probe", str(path))
    assert code == 2
    assert f"{part.name} was edited since" in said
    assert read_probe(path) == {}
    part.write_text(shipped.replace('"relu2"', '"mine"'))
    assert place.lllm("probe", str(path), "--rounds", "2")[0] == 0
    assert [record["passed"] for record in read_probe(path)["more"]] == [True, True]


def test_a_trial_of_a_sweep_is_probed_before_training_only(place: Place) -> None:
    assert summary({"begin": {"passed": True}}) is None
    failed = {"passed": False, "largest": 1.0, "covered": 4, "blame": {"text": "why"}}
    assert summary({"begin": failed}) == {"passed": False, "largest": 1.0, "covered": 4, "text": "why"}
