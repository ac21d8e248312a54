"""`lllm.load`: the model of a run in Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lllm
from lllm.errors import UserError
from lllm.loaded import Loaded

pytestmark = pytest.mark.usefixtures("inside")


@pytest.fixture(scope="module")
def four(home: Path) -> Loaded:
    return lllm.load("tiny/four", results=home / "results")


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """A run directory that may be changed."""
    (source,) = home.glob("results/tiny/four/*/s0")
    return Path(shutil.copytree(source, tmp_path / "tiny/four/arm/s0"))


def edited(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_importing_lllm_imports_nothing_heavy() -> None:
    code = "import sys, lllm; print([m for m in ('torch', 'numpy', 'pydantic', 'rich', 'typer') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_its_evaluation_is_the_recorded_one_bit_for_bit(four: Loaded) -> None:
    assert four.step == 4
    assert not four.model.training
    found, recorded = four.evaluate(), four.run.documents()
    assert found.bpb() == (four.run.result or {})["bpb"]
    for name, nats in recorded.nats.items():
        np.testing.assert_array_equal(found.scores[name].nats, nats)


def test_the_likelihood_of_a_text_is_that_of_the_same_document_in_an_evaluation(four: Loaded) -> None:
    recorded = four.run.documents()
    texts = four.setup.document_starts(4, 1 << 20)
    scored = four.loglikelihood(texts)
    name = next(iter(recorded.nats))
    whole = [i for i in range(4) if scored[i].bytes == recorded.bytes[i]]  # of the others the beginning is evaluated
    assert len(whole) == 3
    assert [scored[i].nats for i in whole] == pytest.approx(recorded.nats[name][whole].tolist(), rel=1e-5)
    assert [one.bytes for one in scored] == [len(text) for text in texts]
    assert {(one.kind, one.likelihood) for one in scored} == {("exact", name)}


def test_likelihoods_of_unusual_texts(four: Loaded) -> None:
    empty, word, raw, long = four.loglikelihood(["", "né", "né".encode(), b"x" * 1000])
    assert empty.bytes == 0
    assert empty.nats > 0  # its end is predicted, too
    assert empty.bpb == float("inf")
    assert word == raw
    assert word.bytes == 3
    assert long.bytes == 1000
    assert long.bpb == pytest.approx(long.nats / 1000 / np.log(2))
    assert four.loglikelihood([]) == []


def test_generation(four: Loaded) -> None:
    prompts: list[bytes | str] = [b"", "def ", bytes(range(256))]
    texts = four.generate(prompts, bytes=20, seed=3)
    assert texts == four.generate(prompts, bytes=20, seed=3)
    assert texts != four.generate(prompts, bytes=20, seed=4)
    assert texts[0] == four.generate([b""], bytes=20, seed=3)[0]  # whatever stands beside it
    assert all(len(text) <= 20 for text in texts)
    rounds = list(four.stream(prompts, bytes=20, seed=3))
    assert len(rounds) > 1
    assert [b"".join(row) for row in zip(*rounds, strict=True)] == texts
    greedy = four.generate(["a"], bytes=9, temperature=0)
    assert greedy == four.generate(["a"], bytes=9, top_k=1, seed=5)
    assert four.generate(["a"], bytes=0) == [b""]
    assert four.generate([]) == []


NONSENSE: list[dict[str, Any]] = [
    {"bytes": -1},
    {"temperature": -0.1},
    {"temperature": float("nan")},
    {"temperature": 1e-300},
    {"top_k": 0},
    {"seed": -1},
    {"seed": 1 << 64},
]


@pytest.mark.parametrize("options", NONSENSE)
def test_numbers_out_of_range_are_refused(four: Loaded, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UserError, match=f"{name} = .*: expected"):
        four.generate(["a"], **options)
    with pytest.raises(UserError, match="expected"):  # before the first round is asked for
        four.stream(["a"], **options)


def test_batches_are_those_of_the_run(four: Loaded) -> None:
    torch.testing.assert_close(four.batches().at(1).tokens, four.setup.batches(0).at(1).tokens)
    assert four.batches().at(0).tokens.shape == (4, 32)


def test_a_run_that_is_not_finished_loads_with_its_newest_checkpoint(copied: Path) -> None:
    (copied / "result.json").unlink()
    loaded = lllm.load(copied)
    assert loaded.step == 4
    assert loaded.run.state != "finished"


def test_a_run_without_a_whole_checkpoint_is_refused(copied: Path) -> None:
    for file in copied.glob("checkpoint/**/*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="no whole checkpoint"):
        lllm.load(copied)
    shutil.rmtree(copied / "checkpoint")
    with pytest.raises(UserError, match="no whole checkpoint"):
        lllm.load(copied)


def test_a_checkpoint_of_another_run_is_refused(copied: Path) -> None:
    edited(copied / "run.json", lambda info: info.update(seed=1))
    with pytest.raises(UserError, match="checkpoint of another run"):
        lllm.load(copied)


def test_weights_that_do_not_fit_are_refused(copied: Path) -> None:
    edited(copied / "run.json", lambda info: info["config"]["semantic"]["model"].update(width=24))
    with pytest.raises(UserError, match="does not fit the model"):
        lllm.load(copied)
    edited(copied / "run.json", lambda info: info["config"]["semantic"]["model"]["trunk"].update(depth=2))
    with pytest.raises(UserError, match="does not fit the model"):
        lllm.load(copied)


def test_a_damaged_run_json_is_refused(copied: Path) -> None:
    (copied / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"run\.json: no settings in it"):
        lllm.load(copied)


def test_an_edited_part_is_named(copied: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lllm.load(copied)
    assert capfd.readouterr().err == ""
    info = json.loads((copied / "run.json").read_text())
    name, part = next(iter(info["parts"].items()))
    edited(copied / "run.json", lambda info: info["parts"][name].update(digest="0" * 32))
    assert lllm.load(copied).step == 4
    assert capfd.readouterr().err.startswith(f"warning: {part['path']} was edited since ")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_devices_that_there_are_not_are_refused(home: Path, device: str) -> None:
    with pytest.raises(UserError, match="device = "):
        lllm.load("tiny/four", device, results=home / "results")


def test_runs_as_a_table(home: Path) -> None:
    rows = lllm.runs(home / "results")
    assert {(row["variant"], row["state"]) for row in rows} == {("flat", "finished"), ("four", "finished")}
    assert all(row["config.model.width"] == 16 for row in rows)


ADAPTER = '''
import torch
from torch import nn

from lllm.model.roles import Role, parameter
from lllm.registry import PartConfig, register
from lllm.train.contracts import Adapter


@register("adapter", "scaled")
class Scaled(Adapter):
    """Multiplies the trunk's output."""

    class Config(PartConfig):
        """No options."""

    def attach(self, model, seed):
        model.trunk.gain = parameter(1, role=Role("vector", fill=1.0))
        with torch.no_grad():
            model.trunk.gain.fill_(1.0)
        inner = model.trunk.forward

        def forward(*arguments):
            output, state = inner(*arguments)
            return output * model.trunk.gain, state

        model.trunk.forward = forward
'''


def test_an_adapter_is_attached_before_the_weights_are_loaded(home: Path, tmp_path: Path, verb: Any) -> None:
    plugin = tmp_path / "scaled.py"
    plugin.write_text(ADAPTER)
    results = tmp_path / "results"
    words = ["train.adapter=scaled", "train.lr=0.05", f"run.results={results}"]
    assert verb("run", "tiny", "four", *words, "--plugin", plugin).code == 0
    loaded = lllm.load("four", results=results)
    assert loaded.model.trunk.gain.item() != 1.0
    assert loaded.evaluate().bpb() == (loaded.run.result or {})["bpb"]
    moved = plugin.rename(tmp_path / "moved.py")
    with pytest.raises(UserError, match="no such file"):
        lllm.load("four", results=results)
    assert lllm.load("four", results=results, plugins=[moved]).step == 4


STEERED = '''
import torch

from lllm.model.contracts import FFN, Cost
from lllm.model.layers import Linear
from lllm.registry import PartConfig, register


@register("ffn", "steered")
class Steered(FFN):
    """As large as the statistic of the last training step says, in evaluation and generation, too."""

    class Config(PartConfig):
        """No options."""

    def __init__(self, config, build):
        super().__init__(config, build)
        self.into = Linear(build.width, build.width)

    def forward(self, x_BND, ctx, state=None):
        y = torch.tanh(self.into(x_BND))
        ctx.add_statistic("size", 20 + y.square().mean((1, 2)))
        return y * ctx.last.get("size", 1.0), None

    def cost(self, n):
        return Cost.dense(self.into.flops(n))
'''


def test_what_steered_the_end_of_training_steers_a_loaded_run(tmp_path: Path, verb: Any) -> None:
    plugin = tmp_path / "steered.py"
    plugin.write_text(STEERED)
    results = tmp_path / "results"
    words = ["model.ffn=steered", f"run.results={results}", "run.sample_bytes=40", "--plugin", plugin]
    assert verb("run", "tiny", "four", *words).code == 0
    loaded = lllm.load("four", results=results)
    assert 20 < loaded.last["size"] < 21
    samples = [json.loads(line) for line in (loaded.run.path / "samples.jsonl").read_text().splitlines()]

    def seen() -> tuple[float, list[float], str]:
        nats = [one.nats for one in loaded.loglikelihood(loaded.setup.document_starts(4, 1 << 20))]
        (text,) = loaded.generate([samples[0]["prompt"]], bytes=40, temperature=0.8, seed=0)
        return loaded.evaluate().bpb(), nats, text.decode("utf-8", "replace")

    bpb, nats, text = seen()
    recorded = loaded.run.documents()
    assert bpb == (loaded.run.result or {})["bpb"]
    whole = recorded.bytes[:4] == [len(start) for start in loaded.setup.document_starts(4, 1 << 20)]
    assert whole.sum() == 3  # of the other one the beginning is evaluated
    assert np.array(nats)[whole] == pytest.approx(recorded.nats[next(iter(recorded.nats))][:4][whole], rel=1e-5)
    assert text == samples[0]["text"]
    loaded.last = {}  # as if nobody had kept it
    other, others, another = seen()
    assert abs(other - bpb) > 0.01
    assert max(abs(a - b) for a, b in zip(nats, others, strict=True)) > 0.1
    assert another != text
    assert verb("eval", "four", "--results", results).out.endswith("agrees with result.json exactly\n")
