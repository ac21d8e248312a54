"""Declared parameters and FLOPs against reality."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lllm.errors import UserError
from lllm.model import compose
from lllm.model.accounting import forward_cost, parameters, tree
from lllm.model.match import closest, solve
from lllm.registry import Registry
from tests.helpers import batch, composition
from tests.model.test_latent import COMPOSITIONS


@pytest.mark.parametrize("parts", COMPOSITIONS, ids=str)
def test_declared_flops_agree_with_the_counter(registry: Registry, parts: dict[str, object]) -> None:
    choice = composition(registry, width=64, vocab=264, illegal=(), **parts)  # type: ignore[arg-type]
    model = compose(registry, choice)
    tokens = torch.randint(0, 264, (1, 40 * choice.ratio))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model.likelihoods(batch(tokens))
    declared = forward_cost(model, tokens.shape[1])
    assert declared.executed == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert declared.flops < declared.executed


@pytest.mark.parametrize("parts", COMPOSITIONS, ids=str)
def test_parameters_are_counted_without_weights(registry: Registry, parts: dict[str, object]) -> None:
    choice = composition(registry, **parts)  # type: ignore[arg-type]
    empty = compose(registry, choice, device="meta")
    assert all(p.is_meta for p in empty.parameters())
    assert parameters(empty) == parameters(compose(registry, choice))


def test_the_trees_parts_sum_to_the_whole(registry: Registry) -> None:
    model = compose(registry, composition(registry), device="meta")
    nodes = tree(model, 32)
    top = [node for node in nodes if node.depth == 1]
    assert sum(node.cost.flops for node in top) == nodes[0].cost.flops
    assert sum(node.params for node in top) + model.width == nodes[0].params  # the learned first latent


def test_a_match_is_found_or_refused_with_the_nearest() -> None:
    assert solve(lambda n: 100 * n + 7, 5000, 0.01).value == 50
    nearest = r"the nearest is 107 \(-0.177 of it\), at 1; sizes from 1 to 2 reach 107 to 207$"
    with pytest.raises(UserError, match=rf"no size within 1% of 130; {nearest}"):
        solve(lambda n: 100 * n + 7, 130, 0.01)


@pytest.mark.parametrize("target", [0.5, 107, 150, 157, 158, 4999, 5000, 10_007, 99_999])
def test_the_closest_size_is_the_one_that_trying_all_finds(target: float) -> None:
    sizes = range(1, 1101)
    best = min(sizes, key=lambda n: (abs(100 * n + 7 - target), n))
    assert closest(lambda n: 100 * n + 7, target).value == best


def test_no_size_far_beyond_the_target_is_counted() -> None:
    counted: list[int] = []

    def count(n: int) -> float:
        counted.append(n)
        return float(n)

    assert closest(count, 37).value == 37
    assert max(counted) <= 2 * 37 + 1
    assert len(counted) == len(set(counted)) <= 14
