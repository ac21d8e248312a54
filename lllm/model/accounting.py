"""What a composition costs: parameters and FLOPs per node, at the node's rate, without allocating a weight.

FLOPs are contractions only, multiply-add = 2, of the stated algorithm; training is 3 times the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from lllm.model.contracts import Block, Cost, ModelPart
from lllm.model.contracts.base import part_name
from lllm.model.latent import LATENTS, LatentModel

__all__ = [
    "TRAIN_FACTOR",
    "Node",
    "forward_cost",
    "parameters",
    "parts_spent",
    "spent",
    "train_flops_per_token",
    "tree",
]

TRAIN_FACTOR = 3  # forward, and twice that for the backward pass


@dataclass(frozen=True)
class Node:
    """One line of the composed tree. rate: positions per token; cost: of one row of the tree's length."""

    path: str
    label: str
    depth: int
    rate: float
    params: int
    cost: Cost


def parameters(module: nn.Module) -> int:
    """Number of distinct parameters."""
    return sum(p.numel() for p in module.parameters())


def forward_cost(model: LatentModel, tokens: int) -> Cost:
    """Forward cost of one row of `tokens` tokens (a multiple of the ratio)."""
    counts = positions(model, tokens)
    return sum((getattr(model, name).cost(count) for name, count in counts.items()), Cost())


def spent(model: LatentModel, counts: Mapping[str, float], tokens: int) -> Cost:
    """What one row of `tokens` tokens cost beyond `forward_cost`, as a function of what was counted in training: by
    data-dependent parts, and of latents where a downsampler learns their number (the trunk's cost at their mean)."""
    if not counts:  # as in most models, and this is asked at every step
        return Cost()
    beyond = parts_spent(model, counts)
    if LATENTS in counts:
        planned = model.trunk.cost(positions(model, tokens)["trunk"]).flops
        beyond += Cost(model.trunk.cost(round(counts[LATENTS])).flops - planned)
    return beyond


def parts_spent(model: LatentModel, counts: Mapping[str, float]) -> Cost:
    """The share of data-dependent parts in `spent`."""
    return sum((part.spent(counts) for part in model.modules() if isinstance(part, ModelPart)), Cost())


def positions(model: LatentModel, tokens: int) -> dict[str, int]:
    """Positions at which each part of the model runs for a row of `tokens` tokens. A downsampler is counted in latents,
    unless their number is learned: then in tokens."""
    n = model.downsampler.latents(tokens)
    return {
        "embedding": tokens,
        "downsampler": tokens if model.downsampler.dynamic else n,
        "trunk": n,
        "head": tokens // model.head.ratio if model.head.wants_tokens else n,
    }


def train_flops_per_token(model: LatentModel, context: int) -> float:
    """Training FLOPs per source token at rows of `context` tokens."""
    return TRAIN_FACTOR * forward_cost(model, context).flops / context


def tree(model: LatentModel, context: int) -> list[Node]:
    """The composition from the model down to its mixers and ffns, in execution order."""
    whole = Node("", "model", 0, 1.0, parameters(model), forward_cost(model, context))
    nodes = [whole]
    for name, count in positions(model, context).items():
        part: ModelPart = getattr(model, name)
        rate = count / context
        nodes.append(Node(name, part_name(part), 1, rate, parameters(part), part.cost(count)))
        if name == "trunk":
            nodes.extend(_layers(part, name, rate, count))
    return nodes


def _layers(part: nn.Module, path: str, rate: float, n: int) -> Iterator[Node]:
    """Blocks of a trunk, each followed by the parts inside it."""
    for name, module in part.named_modules():
        if isinstance(module, Block):
            yield Node(f"{path}.{name}", part_name(module), 2, rate, parameters(module), module.cost(n))
            for child, inner in module.named_children():
                if isinstance(inner, ModelPart):
                    yield Node(f"{path}.{name}.{child}", part_name(inner), 3, rate, parameters(inner), inner.cost(n))
