"""Muon against torch's, by role and by block; decay, by kind."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lllm.model.roles import Role
from lllm.registry import Registry
from lllm.train.contracts import Named
from tests.train.helpers import part


def named(name: str, values: Tensor, role: Role) -> Named:
    return Named(name, nn.Parameter(values.clone()), role)


def stepped(registry: Registry, parameters: list[Named], grads: list[list[Tensor]], **config: Any) -> Any:
    optimizer = part(registry, "optimizer", {"use": "muon", "weight_decay": 0.0, **config})
    optimizer.attach(parameters)
    for step in grads:
        for p, grad in zip(parameters, step, strict=True):
            p.tensor.grad = grad.clone()
        optimizer.step(0.1)
    return optimizer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("shape", "blocks"), [((12, 4), 3), ((3, 4, 4), 3), ((2, 3, 5, 4), 6)])
def test_each_block_is_updated_as_a_matrix_of_its_own(registry: Registry, shape: tuple[int, ...], blocks: int) -> None:
    start, grads = drawn(*shape), [drawn(*shape, seed=i + 1) for i in range(3)]
    together = named("w", start, Role("matrix", blocks=blocks))
    stepped(registry, [together], [[g] for g in grads])

    def split(tensor: Tensor) -> list[Tensor]:
        return list(tensor.reshape(blocks, -1, shape[-1]))

    apart = [named(f"w{i}", piece, Role("matrix")) for i, piece in enumerate(split(start))]
    stepped(registry, apart, [split(g) for g in grads])
    torch.testing.assert_close(torch.stack([p.tensor for p in apart]).view(shape), together.tensor)
    whole = named("w", start, Role("matrix"))
    stepped(registry, [whole], [[g] for g in grads])
    assert not torch.allclose(whole.tensor, together.tensor, atol=1e-3)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (1, 9)])
def test_it_is_torchs_muon_in_the_weights_precision(
    registry: Registry, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    start, grads = drawn(*shape).double(), [drawn(*shape, seed=i + 1).double() for i in range(4)]
    ours = named("w", start, Role("matrix", lr_mult=0.5))
    stepped(registry, [ours], [[g] for g in grads], weight_decay=0.1, momentum=0.9, steps=4)

    def torchs() -> Tensor:
        p = nn.Parameter(start.clone())
        optimizer = torch.optim.Muon(
            [p], lr=0.05, weight_decay=0.1, momentum=0.9, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        )
        for grad in grads:
            p.grad = grad.clone()
            optimizer.step()
        return p.detach()

    rough = torchs()
    torch.testing.assert_close(ours.tensor.detach(), rough, rtol=0, atol=0.02)
    assert not torch.allclose(ours.tensor, rough, rtol=0, atol=1e-6)
    monkeypatch.setattr(Tensor, "bfloat16", Tensor.clone)
    torch.testing.assert_close(ours.tensor.detach(), torchs(), rtol=0, atol=1e-12)


def test_it_routes_by_role_not_by_shape(registry: Registry) -> None:
    """A table of two dimensions is no matrix, and a matrix of three is one."""
    grads = [[drawn(4, 4, seed=1), drawn(2, 4, 4, seed=2)]]
    table, bank = named("t", drawn(4, 4), Role("table")), named("b", drawn(2, 4, 4), Role("matrix", blocks=2))
    state = stepped(registry, [table, bank], grads).state()
    assert set(state["t"]) == {"step", "exp_avg", "exp_avg_sq"}
    assert set(state["b"]) == {"momentum_buffer"}


def test_state_of_blocks_is_kept_under_the_parameters_name(registry: Registry) -> None:
    role, start = Role("matrix", blocks=3, lr_mult=0.5), drawn(12, 4)
    grads = [[drawn(12, 4, seed=i)] for i in range(4)]
    straight = named("w", start, role)
    stepped(registry, [straight], grads)
    first = named("w", start, role)
    saved = copy.deepcopy(stepped(registry, [first], grads[:2]).state())
    second = named("w", first.tensor.detach(), role)
    optimizer = part(registry, "optimizer", {"use": "muon", "weight_decay": 0.0})
    optimizer.attach([second])
    optimizer.load_state(saved)
    for grad in grads[2:]:
        second.tensor.grad = grad[0]
        optimizer.step(0.1)
    assert torch.equal(second.tensor, straight.tensor)
    optimizer.reset(["w"])
    assert optimizer.state() == {}


def test_a_parameter_without_a_gradient_stays(registry: Registry) -> None:
    p = named("w", drawn(6, 2), Role("matrix", blocks=3))
    optimizer = part(registry, "optimizer", "muon")
    optimizer.attach([p])
    p.tensor.grad = drawn(6, 2)
    optimizer.step(0.1)
    moved = p.tensor.detach().clone()
    p.tensor.grad = None
    optimizer.step(0.1)
    assert torch.equal(p.tensor, moved)


def test_matrices_and_the_unembedding_decay() -> None:
    kinds: tuple[Any, ...] = ("embedding", "unembedding", "matrix", "vector", "table")
    assert [kind for kind in kinds if Role(kind).decay] == ["unembedding", "matrix"]
    assert Role("vector", decay=True).decay
    assert Role("matrix", decay=False).decay is False
    assert Role("vector") == Role("vector", decay=False)
