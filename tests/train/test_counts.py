"""FLOPs of a part whose work depends on the data are those of what it did, not of what was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lllm.model.accounting import TRAIN_FACTOR, spent
from lllm.registry import Registry
from tests.check import ends, heads, layers, stacks
from tests.check.compositions import toys
from tests.train.helpers import CONTEXT, Rig, batches, gradients_of, model, shard

GATHER: dict[str, Any] = {"block": "toy_gather"}


def known(registry: Registry) -> Registry:
    return registry.with_parts(*toys(ends, heads, layers, stacks))


def half(rig_model: Any) -> None:
    """A threshold that some positions exceed and some do not."""
    for module in rig_model.modules():
        if isinstance(module, stacks.GatherBlock):
            module.threshold.fill_(0.0)


def test_micro_batches_count_what_the_whole_batch_does(registry: Registry) -> None:
    built = model(known(registry), **GATHER)
    half(built)
    batch = batches(shard(registry)).at(0)
    totals = [gradients_of(known(registry), built, batch, micro=micro)[1].counts for micro in (None, 1, 4)]
    assert totals[0].keys() == totals[1].keys() == totals[2].keys() != set()
    for name, value in totals[0].items():
        assert value < 0  # less than everything
        assert totals[1][name] == pytest.approx(value)
        assert totals[2][name] == pytest.approx(value)


def test_the_run_is_charged_for_what_was_done(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(known(registry), tmp_path / "run", steps=3, nodes=GATHER, flops=1e9, log_every=1)
    half(rig.model)
    counted: list[float] = []
    original = rig.trainer.gradients.__class__.__call__

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        totals = original(self, *args, **kwargs)
        counted.append(spent(rig.model, totals.counts, CONTEXT).flops)
        return totals

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rig.trainer.gradients.__class__, "__call__", watched)
        rig.trainer.run()
    expected = sum(1e9 + TRAIN_FACTOR * rig.trainer.batches.size * beyond for beyond in counted)
    assert len(counted) == 3
    assert all(beyond < 0 for beyond in counted)
    assert rig.trainer.window.flops_seen == pytest.approx(expected)
    logged = [line for line in rig.lines() if "loss" in line]
    assert logged[-1]["flops"] == pytest.approx(expected)
    assert {name for name in logged[0] if name.startswith("count.")} == {
        "count.trunk.layers.0.flops",
        "count.trunk.layers.0.executed",
    }


def test_progress_reaches_the_parts(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(known(registry), tmp_path / "run", steps=4, nodes={"ffn": "toy_custom"}, log_every=1)
    seen: list[float] = []
    forward = stacks.CustomFFN.forward

    def watched(self: Any, x: torch.Tensor, ctx: Any, state: Any = None) -> Any:
        if ctx.train:
            seen.append(ctx.progress)
        return forward(self, x, ctx, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks.CustomFFN, "forward", watched)
        rig.trainer.run()
    assert seen == [0.125, 0.375, 0.625, 0.875]


def test_latents_of_a_learned_number_are_charged_as_they_were(registry: Registry, tmp_path: Path) -> None:
    nodes = {"downsampler": "toy_dynamic", "head": "toy_token"}
    rig = Rig(known(registry), tmp_path / "run", steps=1, nodes=nodes, flops=1e9, log_every=1)
    rig.model.downsampler.threshold.fill_(0.3)  # type: ignore[operator, union-attr]
    rig.trainer.run()
    (line,) = [line for line in rig.lines() if "loss" in line]
    latents = line["count.model.latents"]
    assert 1 < latents < CONTEXT  # the plan has one per token
    trunk = rig.model.trunk
    beyond = trunk.cost(round(latents)).flops - trunk.cost(CONTEXT).flops
    assert beyond < 0
    assert line["flops"] == pytest.approx(1e9 + TRAIN_FACTOR * rig.trainer.batches.size * beyond)
