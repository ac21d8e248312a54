"""Leaving out positions whose output nobody reads, and layers that run more than once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lllm.model import Context, LatentModel, compose
from lllm.model.contracts import TrunkState
from lllm.model.contracts.visibility import CAUSAL
from lllm.model.incremental import prefill
from lllm.model.stack import position_wise
from lllm.registry import Registry
from tests.check import ends, layers, stacks
from tests.check.compositions import toy, toys

YOCO = {"trunk": "toy_yoco", "mixer": "toy_cross"}


def build(registry: Registry, **nodes: Any) -> LatentModel:
    known = registry.with_parts(*toys(layers, ends, stacks))
    return compose(known, toy(known, **nodes), dtype=torch.float64)


def counted(model: LatentModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions of every later call of the ffns above the cache."""
    seen: list[int] = []
    kind = type(model.trunk.above[0].ffn)  # type: ignore[index, union-attr]
    forward = kind.forward

    def watched(self: Any, x: torch.Tensor, *rest: Any) -> Any:
        if any(self is layer.ffn for layer in model.trunk.above):  # type: ignore[union-attr]
            seen.append(x.shape[1])
        return forward(self, x, *rest)

    monkeypatch.setattr(kind, "forward", watched)
    return seen


def test_a_prompt_pays_for_one_position_above_the_cache(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(registry, **YOCO)
    assert position_wise(model.trunk.above)  # type: ignore[arg-type]
    assert not position_wise(model.trunk.below)  # type: ignore[arg-type]
    seen = counted(model, monkeypatch)
    tokens = torch.randint(0, 5, (2, 40))
    prefill(model, tokens, torch.tensor([40, 17]))
    assert seen == [1, 1]
    model.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.zeros(2, dtype=torch.long))
    assert seen[2:] == [10, 10]  # every one is wanted: each predicts a chunk


def test_a_token_shift_above_the_cache_forbids_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(registry, ffn="toy_shift", **YOCO)
    assert not position_wise(model.trunk.above)  # type: ignore[arg-type]
    seen = counted(model, monkeypatch)
    prefill(model, torch.randint(0, 5, (2, 40)), torch.tensor([40, 17]))
    assert seen == [12, 12]  # with room for the open chunk


def test_what_predicts_a_prefix_is_not_computed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = {"use": "toy_yoco", "below": "toy_parallel"}
    model = build(registry, trunk=trunk, mixer="toy_cross", visibility="toy_prefix", ratio=2)
    seen = counted(model, monkeypatch)
    tokens = torch.randint(0, 5, (2, 20))
    ok = torch.ones_like(tokens, dtype=torch.bool)
    x = model.hidden(tokens, ok, torch.tensor([6, 7]))
    assert seen == [4, 4]  # of 10 positions, those after the shorter prefix
    assert x.ok.any(-1).sum(1).tolist() == [4, 3]


def test_the_layers_of_a_repeated_trunk_have_states_of_their_own(registry: Registry) -> None:
    model = build(registry, trunk="toy_repeated", mixer="toy_decay")
    x = torch.randn(2, 5, model.width, dtype=torch.float64)
    ctx = Context.of(torch.ones(2, 5, dtype=torch.bool), CAUSAL)
    _, state = model.trunk(x, ctx)
    assert isinstance(state, TrunkState)
    first = [layer.mixer.s for layer in state.layers]  # type: ignore[attr-defined]
    assert len(first) == 4
    assert not torch.allclose(first[0], first[2])
    with pytest.raises(TypeError, match="a stack of 4 layers needs their TrunkState"):
        model.trunk(x, ctx, replace(state, layers=state.layers[:2]))
    sizes = sum(p.numel() for p in model.trunk.parameters())
    single = build(registry, trunk={"use": "uniform", "depth": 2}, mixer="toy_decay")
    assert sizes == sum(p.numel() for p in single.trunk.parameters())
    assert model.trunk.cost(5).flops == 2 * single.trunk.cost(5).flops
