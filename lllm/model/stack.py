"""Running layers one after the other, each with its own carried state."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from lllm.model.context import Context
from lllm.model.contracts.base import Cost, ModelPart
from lllm.model.contracts.trunk import TrunkState
from lllm.model.state import State

__all__ = ["run_layers", "total_cost"]


def total_cost(layers: nn.ModuleList, n: int) -> Cost:
    """The cost of `n` positions through every layer."""
    return sum((layer.cost(n) for layer in layers if isinstance(layer, ModelPart)), Cost())


def run_layers(
    layers: Iterable[nn.Module], x_BND: Tensor, ctx: Context, state: State | None
) -> tuple[Tensor, TrunkState]:
    """x after every layer, and their states. `state` is a TrunkState or None at a row's beginning.

    Raises:
        TypeError: the state is not that of a stack of this depth.
    """
    layers = list(layers)
    carried: tuple[State | None, ...] = (None,) * len(layers)
    if state is not None:
        if not isinstance(state, TrunkState) or len(state.layers) != len(layers):
            raise TypeError(f"a stack of {len(layers)} layers needs their TrunkState, not {type(state).__name__}")
        carried = state.layers
    after = []
    for layer, before in zip(layers, carried, strict=True):
        x_BND, new = layer(x_BND, ctx, before)
        after.append(new)
    return x_BND, TrunkState(tuple(after))
