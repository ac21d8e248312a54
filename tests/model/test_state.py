"""Carried states: fork, row selection, detachment, size, of every kind of state at once."""

from __future__ import annotations

import torch

from lllm.model import Context, compose
from lllm.model.contracts.visibility import CAUSAL
from lllm.model.incremental import prefill, push
from lllm.registry import Registry
from tests.check import ends, heads, layers, stacks
from tests.check.compositions import toy, toys


def test_a_models_state_is_closed_under_its_operations(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers, ends, heads, stacks))
    nodes = {"trunk": "toy_yoco", "mixer": "toy_cross", "downsampler": "toy_lending", "head": "toy_confident"}
    model = compose(known, toy(known, **nodes), dtype=torch.float64)
    state = prefill(model, torch.randint(0, 5, (3, 9)), torch.tensor([9, 4, 0]))
    assert state.lent["sure"].shape == (3,)
    assert state.fork() is state
    picked = state.select(torch.tensor([2, 2, 0, 1]))
    assert all(tensor.shape[0] == 4 for tensor in picked.tensors())
    assert torch.equal(picked.count, torch.tensor([0, 0, 9, 4]))
    assert state.nbytes() == sum(tensor.numel() * tensor.element_size() for tensor in state.tensors()) > 0
    longer = push(model, state, torch.tensor([1, 2, 3]), torch.tensor([True, False, True]))
    while int(longer.count[0]) < 20:
        longer = push(model, longer, torch.tensor([1, 2, 3]), torch.tensor([True, True, True]))
    assert longer.nbytes() > state.nbytes()  # the cache has grown


def test_a_detached_state_has_the_values_and_no_history(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers, ends, heads, stacks))
    model = compose(known, toy(known, trunk="toy_yoco", mixer="toy_cross"), dtype=torch.float64)
    x = torch.randn(2, 4, model.width, dtype=torch.float64)
    _, state = model.trunk(x, Context.of(torch.ones(2, 4, dtype=torch.bool), CAUSAL))
    assert any(tensor.requires_grad for tensor in state.tensors())
    cut = state.detach()
    assert not any(tensor.requires_grad for tensor in cut.tensors())
    for left, right in zip(cut.tensors(), state.tensors(), strict=True):
        assert torch.equal(left, right)
