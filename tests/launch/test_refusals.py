"""What cannot go well is said in one sentence, before anything is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lllm.cli import main
from lllm.errors import UserError
from lllm.launch.begin import begin
from lllm.launch.execute import rehearse
from lllm.launch.measure import Bench, Stepper
from lllm.results.run import Run
from lllm.train.worker import main as worker
from tests.launch.helpers import TINY, Place, todo
from tests.launch.test_plan import more, part_here
from tests.train import toys_model

BROKEN = '''
"""A part with a mistake."""
from lllm.model.contracts import FFN, Cost
from lllm.registry import PartConfig, register


@register("ffn", "broken")
class Broken(FFN):
    """Raises."""

    class Config(PartConfig):
        early: bool = False

    def __init__(self, config, build):
        super().__init__(config, build)
        if config.early:
            raise ValueError("a bad size")

    def forward(self, x_BND, context, state=None):
        raise ZeroDivisionError("in the middle of it")

    def cost(self, n):
        return Cost()
'''

RAISES = BROKEN.splitlines().index('        raise ZeroDivisionError("in the middle of it")') + 1


def interrupted(path: Path) -> None:
    (path / "result.json").unlink()
    (path / "status.json").write_text('{"state": "interrupted"}')


def test_a_part_edited_after_the_plan_stops_the_worker(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    plan = place.plan()
    begin(plan, plan.runs[0])
    path = part_here(place, "ffns/swiglu.py", more)
    assert worker(str(plan.runs[0].path)) == 2
    assert f"error: {path} changed since the plan was made; give the command again" in capsys.readouterr().err
    assert not (plan.runs[0].path / "metrics.jsonl").exists() or not Run(plan.runs[0].path).finished


def test_data_that_changed_after_the_plan_stop_the_run(place: Place) -> None:
    plan = place.plan()
    place.corpus("\n\n".join(f"another text, number {i}" for i in range(200)))
    with pytest.raises(UserError, match=r"^the data changed since the plan was made; give the command again$"):
        place.train(plan)


def test_keep_stale_keeps_what_is_finished_only(place: Place) -> None:
    place.train(place.plan())
    path = part_here(place, "ffns/swiglu.py", more)
    assert todo(place.plan(keep_stale=True))["base/s0"][0] == "finished"
    interrupted(place.plan().runs[0].path)
    assert todo(place.plan(keep_stale=True)) == {"base/s0": ("train anew", f"stale: {path} changed")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run.device=cuda",), "run.device = 'cuda': this machine has no CUDA"),
        (("train.precision=bfloat16",), "train.precision = 'bfloat16': runs on CUDA only"),
        (("budget={seconds: 5}", "run.nproc=2"), "budget.seconds = 5.*measured in one process, and this run has 2"),
        ((f"run.results={'x' * 300}",), "x: cannot be written .*too long"),
    ],
)
def test_what_cannot_run_here_is_refused_before_anything_is_written(
    place: Place, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = sorted(place.path.rglob("*"))
    with pytest.raises(UserError, match=said):
        place.plan(*words)
    assert sorted(place.path.rglob("*")) == before


def test_what_is_finished_elsewhere_needs_no_gpu(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.train(place.plan())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert todo(place.plan("run.device=cuda")) == {"base/s0": ("finished", "")}
    with pytest.raises(UserError, match=r"run\.device = 'cuda'"):
        place.plan("run.device=cuda", "train.lr=0.5")


def broken(place: Place) -> Path:
    path = place.path / "broken.py"
    path.write_text(BROKEN)
    place.plugins = [path]
    return path


def test_a_part_that_does_not_build_is_named_with_its_line(place: Place) -> None:
    path = broken(place)
    line = BROKEN.splitlines().index('            raise ValueError("a bad size")') + 1
    with pytest.raises(UserError) as caught:
        place.plan("model.ffn={use: broken, early: true}")
    assert str(caught.value) == f"ffn 'broken' ({path}:{line}): ValueError: a bad size"


def test_a_part_that_raises_in_training_fails_its_run(place: Place) -> None:
    path = broken(place)
    plan = place.plan("model.ffn=broken")
    fine, watch = place.train(plan)
    ((_, state, reason),) = watch.ends
    assert (fine, state) == (False, "failed")
    assert reason.startswith(f"ZeroDivisionError: in the middle of it ({path}:")
    log = plan.runs[0].path / "error.log"
    assert str(log) in reason
    assert "Traceback" in log.read_text()
    assert json.loads((plan.runs[0].path / "status.json").read_text()) == {"state": "failed", "reason": reason}


def test_a_part_that_raises_while_a_step_is_timed_is_named(place: Place) -> None:
    path = broken(place)
    plan = place.plan("model.ffn=broken", "budget={seconds: 5}")
    said = re.escape(f"ffn 'broken' ({path}:{RAISES}): ZeroDivisionError: in the middle of it")
    with pytest.raises(UserError, match=f"^{said}$"):
        place.train(plan)
    with pytest.raises(UserError, match=f"^{said}$"):
        list(rehearse(plan))
    assert not plan.runs[0].path.exists()
    bench = Bench(plan.runs[0].arm)
    with pytest.raises(UserError, match=f"^{said}$"):
        bench.warm()


UNPLANNED = '''
"""Parts that raise before there is a run."""
from lllm.launch.contracts import Launcher
from lllm.model.contracts import ParallelMixer
from lllm.registry import PartConfig, register
from pydantic import field_validator


@register("mixer", "boom")
class Boom(ParallelMixer):
    """Has no cost of its own, and so is counted by running it."""

    def mix(self, x_BND, ctx):
        raise RuntimeError("boom")  # counted


@register("launcher", "lost")
class Lost(Launcher):
    """Knows no command."""

    def command(self, python, arguments, *, nproc, nnodes, name="lllm"):
        return [python][1]  # asked


@register("mixer", "staged")
class Staged(ParallelMixer):
    """Cannot say what comes first."""

    def mix(self, x_BND, ctx):
        return x_BND

    def stages(self):
        return {}["nothing"]  # staged


@register("mixer", "unsettled")
class Unsettled(Staged):
    """Raises where its options are looked at."""

    class Config(PartConfig):
        size: int = 1

        @field_validator("size")
        @classmethod
        def looked_at(cls, value):
            return value / 0  # unsettled
'''


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model.mixer=boom",), "mixer 'boom' ({}): RuntimeError: boom"),
        (("model.mixer=staged",), "mixer 'staged' ({}): KeyError: 'nothing'"),
        (("model.mixer={use: unsettled, size: 2}",), "mixer 'unsettled' ({}): ZeroDivisionError: division by zero"),
        (("run.launcher=lost", "train.lr=0.5"), "launcher 'lost' ({}): IndexError: list index out of range"),
    ],
)
def test_a_part_that_raises_while_it_is_planned_is_named(
    place: Place, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """By every verb that plans, in one sentence; no run is begun, and what is there stays."""
    place.train(place.plan())
    results = sorted(place.path.joinpath("results").rglob("*"))
    path = place.path / "unplanned.py"
    path.write_text(UNPLANNED)
    name = said.split("'")[1]
    mark = {"boom": "counted", "lost": "asked"}.get(name, name)
    line = next(i for i, text in enumerate(UNPLANNED.splitlines(), 1) if text.endswith(f"# {mark}"))
    verbs = [["run"], ["run", "--dry-run"], ["show"], ["bench"]] if mark != "asked" else [["run"], ["run", "--dry-run"]]
    for verb, *options in verbs:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([verb, "tiny", *words, *options, "--plugin", str(path)])
        assert ended.value.code == 2
        assert capfd.readouterr().err.splitlines()[-1] == f"error: {said.format(f'{path}:{line}')}"
    assert sorted(place.path.joinpath("results").rglob("*")) == results


def test_a_device_that_is_too_small_is_no_parts_fault(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Stepper) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    bench = Bench(place.arms()[0].arm("base"))
    monkeypatch.setattr(Stepper, "__call__", full)
    with pytest.raises(UserError, match=r"^variant 'base': the device has not enough memory.*run\.micro_batch=2$"):
        bench.warm()


def test_damaged_checkpoints_are_told(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run.checkpoint_seconds=0",)
    plan = place.plan(*words)
    run, stops = plan.runs[0], iter([False, False, False, True])
    info = begin(plan, run)
    assert info is not None
    from lllm.train.job import train
    from lllm.train.trainer import Interrupted
    from lllm.train.world import World

    with pytest.raises(Interrupted):
        train(run.path, info, run.arm.resolved, run.arm.setup.registry, world=World(), stop=lambda: next(stops))
    older, newest = sorted((run.path / "checkpoint").iterdir())
    (newest / "tensors.safetensors").write_bytes(b"")
    said = f"damaged checkpoint {newest}; going on from step {int(older.name)}"
    assert todo(place.plan(*words)) == {"base/s0": ("continue", said)}
    (older / "skeleton.json").write_text("{}")
    said = f"damaged checkpoint {newest}, {older}; no whole one is left in {run.path / 'checkpoint'}"
    again = place.plan(*words)
    assert todo(again) == {"base/s0": ("continue", said)}
    assert place.train(again)[0]
    assert f"warning: {said}" in capsys.readouterr().err


def test_steps_are_measured_as_the_run_executes_them(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    arm = place.arms("run.compile=true", "train.precision=bfloat16")[0].arm("base")
    stepper = Stepper(arm, 0)
    assert compiled == [stepper.model]
    assert stepper.device.type == "cpu"
    with stepper.autocast():
        assert torch.is_autocast_enabled("cpu")


def test_a_budget_of_flops_pays_for_the_stages(place: Place) -> None:
    place.plugins = [Path(str(toys_model.__file__))]
    words = ("model.downsampler=toy_autoencoder",)
    arm = place.arms(*words)[0].arm("base")
    assert arm.stage_flops > 0
    total = arm.stage_flops + 4 * arm.flops_per_step
    assert place.arms(*words, f"budget={{flops: {total:.0f}}}")[0].arm("base").steps == 4
    with pytest.raises(UserError, match=r"budget\.flops = .*: the stages of variant 'base' alone take"):
        place.arms(*words, f"budget={{flops: {arm.stage_flops / 2:.0f}}}")[0].arm("base")


def test_a_knob_that_is_given_is_not_turned(place: Place) -> None:
    place.write(TINY + "variants: {a: {}, b: {model.head: {use: parallel, hidden: 16}}}\nmatch: {params: 50%}\n")
    plan = place.plan("model.ffn.hidden=20")
    assert todo(plan) == {"a/s0": ("train", ""), "b/s0": ("train", "not matched: model.ffn.hidden was given")}
    assert plan.runs[1].arm.resolved.semantic()["model"]["ffn"]["hidden"] == 20
    assert plan.runs[1].arm.matched == ""
