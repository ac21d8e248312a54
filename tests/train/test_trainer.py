"""An interrupted run, resumed, is bit for bit the uninterrupted one, whatever its parts ask of the trainer."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lllm.errors import UserError
from lllm.registry import Registry
from lllm.train import checkpoint
from lllm.train.hooks import Hook
from lllm.train.trainer import Failed, Interrupted
from tests.train.helpers import Rig, assert_same, model, toys

KINDS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon, micro-batches": {"optimizer": "muon", "micro_batch": 4},
    "noise, auxiliary loss, statistic": {"nodes": {"ffn": "toy_steered"}},
    "selecting objective": {"objective": "toy_select"},
    "curvature of drawn labels": {"optimizer": "toy_gnb"},
    "averaged weights": {"optimizer": "toy_averaged"},
    "adapter that merges": {"adapter": "toy_lora", "schedule": "wsd"},
}


class Clock:
    """Says stop after so many steps of this life."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def finished(rig: Rig) -> tuple[list[dict[str, Any]], dict[str, Tensor], dict[str, Any]]:
    evaluation = rig.trainer.run()
    found = checkpoint.load_newest(rig.folder / "checkpoint", rig.trainer.identity)
    assert found is not None
    return (
        rig.lines(),
        {**rig.weights(), **{f"final.{k}": v for k, v in found[1]["model"].items()}},
        evaluation.result(),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_after_every_step_it_is_the_same_run(registry: Registry, tmp_path: Path, kind: str) -> None:
    whole = finished(Rig(registry, tmp_path / "whole", **KINDS[kind]))
    assert [line["step"] for line in whole[0]] == [3, 5, 6, 9, 10, 12, 12]
    for life in range(12):
        rig = Rig(registry, tmp_path / "cut", stop=Clock(1), **KINDS[kind])
        with pytest.raises(Interrupted, match=f"stopped after step {life + 1} of 12"):
            rig.trainer.run()
    cut = finished(Rig(registry, tmp_path / "cut", **KINDS[kind]))
    assert cut[0] == whole[0]
    assert_same(cut[1], whole[1])
    assert cut[2] == whole[2]


class Killed(BaseException):
    """As if by SIGKILL: nothing is saved on the way out."""


def kill_at(rig: Rig, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rig die before its batch of `step`."""
    batches = rig.trainer.batches
    give = batches.at

    def at(asked: int, share: Any = None) -> Any:
        if asked == step:
            raise Killed
        return give(asked, share)

    monkeypatch.setattr(batches, "at", at)


@pytest.mark.parametrize("kind", ["adamw", "adapter that merges", "averaged weights"])
def test_killed_after_every_step_it_is_the_same_run(
    registry: Registry, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was logged since the last checkpoint, up to four steps before, is cut off and comes again."""
    whole = finished(Rig(registry, tmp_path / "whole", **KINDS[kind]))
    folder = tmp_path / "cut"
    for step in range(1, 12):
        if step % 4 == 0:
            with pytest.raises(Interrupted):
                Rig(registry, folder, checkpoint_seconds=1e9, stop=Clock(4), **KINDS[kind]).trainer.run()
        rig = Rig(registry, folder, checkpoint_seconds=1e9, **KINDS[kind])
        kill_at(rig, step, monkeypatch)
        with pytest.raises(Killed):
            rig.trainer.run()
    cut = finished(Rig(registry, folder, **KINDS[kind]))
    assert cut[0] == whole[0]
    assert_same(cut[1], whole[1])


def test_killed_while_it_finishes_it_need_not_begin_again(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished(Rig(registry, tmp_path, optimizer="toy_averaged"))
    rig = Rig(registry, tmp_path, optimizer="toy_averaged")  # the result was not written: it is still to be resumed
    for step in range(12):
        kill_at(rig, step, monkeypatch)
    again = finished(rig)
    assert again[0] == whole[0]
    assert_same(again[1], whole[1])
    checkpoint.discard(rig.folder / "checkpoint")
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["final"]


def test_damaged_checkpoints_cost_steps_and_nothing_else(registry: Registry, tmp_path: Path) -> None:
    whole = finished(Rig(registry, tmp_path / "whole"))
    for damaged in (1, 2):
        folder = tmp_path / f"cut{damaged}"
        with pytest.raises(Interrupted):
            Rig(registry, folder, stop=Clock(8)).trainer.run()
        for path in sorted((folder / "checkpoint").iterdir())[-damaged:]:
            (path / "tensors.safetensors").write_bytes(b"not what was written")
        cut = finished(Rig(registry, folder))
        assert cut[0] == whole[0]
        assert_same(cut[1], whole[1])


def test_a_checkpoint_of_another_identity_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        Rig(registry, tmp_path, stop=Clock(2)).trainer.run()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="checkpoint of another run"):
        Rig(registry, tmp_path, identity="f" * 32 + "-s0").trainer.run()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("where", ["checkpoint", "metrics"])
def test_a_full_disk_ends_cleanly_and_the_run_goes_on_later(
    registry: Registry, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finished(Rig(registry, tmp_path / "whole"))
    folder = tmp_path / "cut"
    with pytest.raises(Interrupted):
        Rig(registry, folder, stop=Clock(4)).trainer.run()
    rig = Rig(registry, folder)

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if where == "checkpoint":
            patch.setattr(checkpoint, "save_file", full)
        else:
            patch.setattr(os, "write", full)
        with pytest.raises(UserError, match=r"the disk is full.*continues where it was"):
            rig.trainer.run()
    cut = finished(Rig(registry, folder))
    assert cut[0] == whole[0]
    assert_same(cut[1], whole[1])


# --- what cannot go on ----------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_run_before_the_weights_are_spoilt(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(registry, tmp_path)
    with torch.no_grad():
        rig.model.first[0] = float("nan")
    before = rig.weights()
    with pytest.raises(Failed, match=r"the loss is nan at step 1; try a lower train\.lr"):
        rig.trainer.run()
    assert all(torch.equal(before[n].nan_to_num(), after.nan_to_num()) for n, after in rig.weights().items())


def test_a_gradient_that_is_no_number_does_too(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(registry, tmp_path)
    rig.model.first.register_hook(lambda g: g * float("inf"))  # type: ignore[no-untyped-call]
    with pytest.raises(Failed, match="the gradient's norm is"):
        rig.trainer.run()
    assert all(bool(w.isfinite().all()) for w in rig.weights().values())


def test_divergence_ends_the_run(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"the loss is .* a uniform guess has 5.56 nats"):
        Rig(registry, tmp_path, steps=40, optimizer="toy_averaged", lr=300.0, clip=None).trainer.run()


def test_weights_that_cannot_be_scored_end_the_run(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(registry, tmp_path, steps=1)

    class Spoiler(Hook):
        def after_step(self, now: Any) -> None:
            with torch.no_grad():
                now.model.first[0] = float("nan")

    rig.trainer.hooks = [Spoiler()]
    with pytest.raises(Failed, match="the evaluation gives nan bits per byte"):
        rig.trainer.run()


# --- what is logged -------------------------------------------------------------------------------------------------


def test_records_hold_what_design_says(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(registry, tmp_path, nodes={"ffn": "toy_steered"}, adapter="toy_lora")
    rig.trainer.run()
    first = rig.records[0]
    assert {"step", "tokens", "bytes", "flops", "loss", "lr", "grad_norm", "clip_share", "seconds", "memory"} <= {
        *first
    }
    assert first["bytes_per_second"] > 0
    assert {"update.matrix", "update.vector", "update.embedding", "update.unembedding"} <= {*first}
    assert {"aux.steered.0", "statistic.steered.0", "metric.steered.0", "metric.steered.0.whole"} <= {*first}
    assert first["metric.steered.0"] == pytest.approx(first["metric.steered.0.whole"], rel=1e-5)
    assert first["flops"] == 30.0
    seen = [record for record in rig.records if "metric.merges" in record]
    assert [(record["step"], record["metric.merges"]) for record in seen] == [(6, 1.0), (9, 2.0), (12, 3.0)]


def test_the_schedule_is_a_function_of_progress(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(registry, tmp_path, log_every=1, schedule={"use": "cosine", "warmup": 0.25, "floor": 0.0}, steps=8)
    rig.trainer.run()
    rates = [record["lr"] for record in rig.records if "lr" in record]
    expected = [rig.parts["schedule"].factor((i + 0.5) / 8) * 3e-3 for i in range(8)]
    assert rates == expected


def test_clipping_is_counted(registry: Registry, tmp_path: Path) -> None:
    clipped, free = Rig(registry, tmp_path / "a", clip=1e-3), Rig(registry, tmp_path / "b", clip=None)
    clipped.trainer.run()
    free.trainer.run()
    assert clipped.records[0]["clip_share"] == 1
    assert free.records[0]["clip_share"] == 0
    assert clipped.records[0]["grad_norm"] > 1e-3


# --- batch composition changes nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "muon, micro-batches"])
def test_micro_batches_train_the_same_weights(registry: Registry, tmp_path: Path, kind: str) -> None:
    whole = Rig(registry, tmp_path / "whole", double=True, **KINDS[kind])
    cut = Rig(registry, tmp_path / "cut", double=True, micro_batch=4, **KINDS[kind])
    whole.trainer.run()
    cut.trainer.run()
    after = cut.weights()
    for name, tensor in whole.weights().items():
        assert torch.allclose(tensor, after[name], rtol=1e-8, atol=1e-10), name


# --- hooks ----------------------------------------------------------------------------------------------------------


def test_selecting_everything_is_cross_entropy_bit_for_bit(registry: Registry, tmp_path: Path) -> None:
    plain = finished(Rig(registry, tmp_path / "plain"))
    every = finished(Rig(registry, tmp_path / "every", objective={"use": "toy_select", "keep": 1}))
    assert_same(every[1], plain[1])
    assert [line["loss"] for line in every[0] if "loss" in line] == [
        line["loss"] for line in plain[0] if "loss" in line
    ]


def test_selecting_uses_the_step_before(registry: Registry, tmp_path: Path) -> None:
    selecting = finished(Rig(registry, tmp_path / "selecting", objective="toy_select", log_every=1))
    plain = finished(Rig(registry, tmp_path / "plain", log_every=1))
    assert selecting[0][0]["loss"] == plain[0][0]["loss"]  # nothing is known before the first step
    assert selecting[0][1]["loss"] > plain[0][1]["loss"]  # only what costs more than its mean
    assert selecting[0][0]["statistic.tokens"] > 0


def test_averaged_weights_are_evaluated_and_training_goes_on_untouched(registry: Registry, tmp_path: Path) -> None:
    seldom = Rig(registry, tmp_path / "seldom", optimizer="toy_averaged", eval_every=0)
    often = Rig(registry, tmp_path / "often", optimizer="toy_averaged", eval_every=1)
    left, right = finished(seldom), finished(often)
    assert_same(left[1], right[1])  # bit for bit, however often weights were swapped
    assert any(not torch.equal(left[1][f"final.{name}"], tensor) for name, tensor in seldom.weights().items())
    hook = seldom.trainer.hooks[0]
    assert_same({n: left[1][f"final.{n}"] for n in hook.state()["average"]}, hook.state()["average"])
    with torch.no_grad():
        for name, tensor in seldom.model.named_parameters():
            tensor.copy_(left[1][f"final.{name}"])
    seldom.trainer.hooks = []
    assert seldom.trainer.evaluate(seldom.trainer.settings.steps).result() == left[2]


def test_curvature_leaves_the_gradient_alone(registry: Registry, tmp_path: Path) -> None:
    """What `before_update` sees before and after the extra pass is one gradient."""
    rig = Rig(registry, tmp_path, optimizer="toy_gnb", steps=4, log_every=1)
    seen: list[bool] = []

    class Witness(Hook):
        name = "witness"

        def before_update(self, now: Any) -> None:
            before = {n: p.grad.clone() for n, p in now.model.named_parameters()}
            now.extra_backward()
            seen.append(all(torch.equal(before[n], p.grad) for n, p in now.model.named_parameters()))

    rig.trainer.hooks = [Witness(), *rig.trainer.hooks]
    rig.trainer.run()
    assert seen == [True] * 4
    assert [record["step"] for record in rig.records if "metric.curvature" in record] == [1, 4]


def test_merging_changes_no_output_and_forgets_what_was_merged(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(registry, tmp_path, adapter="toy_lora", steps=4, double=True)
    lora = rig.parts["adapter"]
    outputs: list[Tensor] = []

    def output() -> Tensor:
        with torch.no_grad():
            batch = rig.trainer.batches.at(0)
            return rig.model.score(batch)[1]["autoregressive"].nats

    class Witness(Hook):
        name = "witness"

        def after_step(self, now: Any) -> None:
            outputs.append(output())

    rig.trainer.hooks = [Witness(), *rig.trainer.hooks]
    rig.trainer.run()
    assert torch.allclose(outputs[-1], output(), atol=1e-12)  # before and after the merge
    state = rig.optimizer.state()
    merged = lora.names()
    assert merged
    assert not set(merged) & {name for name, held in state.items() if held}
    assert state["first"]["step"] == 4  # what was not merged keeps its state
    assert all(held[0].down.shape[0] == 2 for held, _ in lora.terms())  # the next cycle has another rank
    assert {role for role in rig.trainer.roles if "parametrizations" in role} >= set(merged)


def test_frozen_matrices_stay_and_low_rank_terms_learn(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(registry, tmp_path, adapter={"use": "toy_lora", "cycle": 100}, steps=3)
    before = rig.weights()
    rig.trainer.run()
    after = rig.weights()
    originals = [name for name in before if name.endswith("original")]
    assert len(originals) > 4
    assert all(torch.equal(before[name], after[name]) for name in originals)
    assert all(not torch.equal(before[name], after[name]) for name in rig.parts["adapter"].names())
    fresh = model(toys(registry), double=False)
    for name in originals:
        path = name.replace("parametrizations.", "").removesuffix(".original")
        assert torch.equal(before[name], dict(fresh.named_parameters())[path])  # its stream is that of its path


def test_hooks_stand_around_every_checkpoint(registry: Registry, tmp_path: Path) -> None:
    """What they swap in is saved, not trained on; they are undone in reverse, also where nothing can be written."""
    said: list[str] = []

    class Swap(Hook):
        def __init__(self, name: str) -> None:
            self.name = name

        def begin(self, model: Any) -> None:
            self.model = model

        def before_save(self) -> None:
            said.append(f"before {self.name}")
            with torch.no_grad():
                self.kept = self.model.first.clone()
                self.model.first.fill_(7.0)

        def after_save(self) -> None:
            said.append(f"after {self.name}")
            with torch.no_grad():
                self.model.first.copy_(self.kept)

    plain = Rig(registry, tmp_path / "plain", steps=4)
    plain.trainer.run()
    rig = Rig(registry, tmp_path / "swapped", steps=4, checkpoint_seconds=-1.0)
    rig.trainer.hooks = [Swap("a"), Swap("b")]
    for hook in rig.trainer.hooks:
        hook.begin(rig.model)
    rig.trainer.run()
    assert said == 4 * ["before a", "before b", "after b", "after a"]
    assert_same(rig.weights(), plain.weights())
    found = checkpoint.load_resumable(rig.folder / "checkpoint", rig.trainer.identity)
    assert found is not None
    assert bool((found[1]["model"]["first"] == 7).all())
