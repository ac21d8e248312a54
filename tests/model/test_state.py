"""Carried states: row selection and size, of every kind of state at once."""

from __future__ import annotations

import torch

from lllm.model import compose
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
    picked = state.select(torch.tensor([2, 2, 0, 1]))
    assert all(tensor.shape[0] == 4 for tensor in picked.tensors())
    assert torch.equal(picked.count, torch.tensor([0, 0, 9, 4]))
    longer = push(model, state, torch.tensor([1, 2, 3]), torch.tensor([True, False, True]))
    while int(longer.count[0]) < 20:
        longer = push(model, longer, torch.tensor([1, 2, 3]), torch.tensor([True, True, True]))
    grown, before = (sum(tensor.nbytes for tensor in s.tensors()) for s in (longer, state))
    assert grown > before  # the cache
