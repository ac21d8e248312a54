"""One run, from its directory to its result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lllm.errors import UserError
from lllm.results.files import read_metrics
from lllm.results.ownership import Owned, Ownership
from lllm.results.run import Run
from lllm.train import job
from tests.launch.helpers import Place, outcome
from tests.train import toys_model, toys_training
from tests.train.test_mirror import FakeWandb


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """With the toy parts as plugins."""
    place = Place(tmp_path, monkeypatch)
    place.plugins = [Path(str(module.__file__)) for module in (toys_model, toys_training)]
    return place


def trained(place: Place, *words: str, **options: Any) -> Path:
    plan = place.plan(*words, **options)
    fine, watch = place.train(plan)
    assert fine, watch.ends
    return plan.runs[0].path


def test_a_finished_run_has_its_files(place: Place) -> None:
    path = trained(place)
    names = {p.name for p in path.iterdir()} - {".lock"}
    assert names == {
        "run.json",
        "metrics.jsonl",
        "result.json",
        "documents.npz",
        "samples.jsonl",
        "probe.json",
        "checkpoint",
    }
    assert [p.name for p in (path / "checkpoint").iterdir()] == ["final"]
    run, lines = Run(path), read_metrics(path / "metrics.jsonl")
    result, documents = run.result, run.documents()
    assert result is not None
    assert result["bpb"] == lines[-1]["bpb"]
    assert result["steps"] == 6
    assert result["train_bytes"] == lines[-2]["bytes"]
    assert result["train_flops_per_byte"] == pytest.approx(lines[-2]["flops"] / lines[-2]["bytes"])
    assert documents.bytes.sum() == result["evaluated_bytes"]
    assert documents.hash.shape == (result["documents"], 16)
    assert documents.nats["autoregressive"].sum() == pytest.approx(result["nats_per_byte"] * result["evaluated_bytes"])
    assert set(json.loads((path / "samples.jsonl").read_text())) == {"prompt", "text"}


def test_wandb_mirrors_the_records_of_a_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setenv("WANDB_MODE", "")
    path = trained(place, "wandb=offline")
    assert [record for _, record in wandb.logged] == read_metrics(path / "metrics.jsonl")
    assert wandb.started[0]["config"]["model"]["width"] == 16
    assert wandb.ended == [0]


def test_a_part_with_a_stage_is_charged_and_shared(place: Place) -> None:
    words = ("model.downsampler=toy_autoencoder",)
    first = trained(place, *words)
    kept = list(Path("results/.stages").iterdir())
    second = trained(place, *words, "model.head=parallel")
    trained(place, *words, seeds=(1,))
    assert len(kept) == 1
    assert len(list(Path("results/.stages").iterdir())) == 2  # another seed trains its own
    result, plain = Run(first).result, Run(trained(place)).result
    assert result is not None
    assert plain is not None
    assert result["stages"] == Run(second).result["stages"] == ["autoencoder"]  # type: ignore[index]
    assert plain["stages"] == []
    logged = read_metrics(first / "metrics.jsonl")[-2]["flops"]
    assert result["train_flops"] > logged
    assert result["train_flops_per_byte"] > logged / result["train_bytes"]


def test_a_gate_that_refuses_fails_the_run(place: Place) -> None:
    plan = place.plan("model.downsampler={use: toy_autoencoder, worst: 0.1}")
    fine, watch = place.train(plan)
    assert not fine
    assert "stage 'autoencoder' of downsampler" in watch.ends[0][2]
    assert Run(plan.runs[0].path).state == "failed"


@pytest.mark.parametrize(
    "words",
    [
        ("train.adapter=toy_lora",),
        ("train.optimizer=toy_gnb", "model.ffn=toy_steered"),
        ("train.optimizer=toy_averaged", "train.objective=toy_select"),
    ],
)
def test_toys_train_from_settings_and_micro_batches_are_execution(place: Place, words: tuple[str, ...]) -> None:
    left = outcome(trained(place, *words))
    assert left == outcome(trained(place, *words, "run.results=again"))
    right = outcome(trained(place, *words, "run.results=cut", "run.micro_batch=1"))
    for ours, theirs in zip(left[0], right[0], strict=True):
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), rel=1e-4)


def test_samples_are_drawn_from_the_weights_that_are_evaluated(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    original = job._sample

    def sample(setup: Any, trainer: Any, *arguments: Any, **options: Any) -> bytes:
        seen.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
        return original(setup, trainer, *arguments, **options)

    monkeypatch.setattr(job, "_sample", sample)
    path = trained(place, "train.optimizer=toy_averaged")
    final = outcome(path)[1]
    assert {name: tensor.tolist() for name, tensor in seen[0].items()} == final


def test_too_little_memory_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(job, "run_stages", exhausted)
    with pytest.raises(UserError, match=r"not enough memory; expected fewer rows at once, as run.micro_batch=2"):
        trained(place)


def test_a_run_that_was_taken_over_stops(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that slept through its heartbeat learns at its next step that another machine has the run."""
    plan = place.plan()
    path = plan.runs[0].path

    def lost(self: Ownership) -> None:
        raise Owned(path, {"pid": 7, "host": "elsewhere"})

    monkeypatch.setattr(Ownership, "check", lost)
    _, watch = place.train(plan)
    assert watch.ends[0][1] == "running"
    assert "process 7 on elsewhere" in watch.ends[0][2]


def test_half_precision_needs_cuda(place: Place) -> None:
    if torch.cuda.is_available():
        assert place.plan("train.precision=bfloat16").pending
        return
    with pytest.raises(UserError, match=r"train\.precision = 'bfloat16': runs on CUDA only"):
        trained(place, "train.precision=bfloat16")


def test_an_objective_whose_column_is_missing_is_refused(place: Place) -> None:
    plugin = place.path / "picky.py"
    plugin.write_text(
        "from lllm.registry import register\n"
        "from lllm.train.contracts import Objective\n"
        "@register('objective', 'picky')\n"
        "class Picky(Objective):\n"
        "    '''Reads a column.'''\n"
        "    columns = ('reference',)\n"
        "    def weights(self, out, batch, progress, last):\n"
        "        return out.ok.float()\n"
    )
    place.plugins = [plugin]
    with pytest.raises(UserError, match="reads the column 'reference', which corpus 'text' does not have"):
        place.plan("train.objective=picky")
