"""Running layers one after the other, each with its own carried state."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from lllm.model.context import Context
from lllm.model.contracts.base import Cost, ModelPart
from lllm.model.contracts.layers import TrunkState
from lllm.model.state import State

__all__ = ["position_wise", "run_layers", "run_wanted", "total_cost"]


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


def position_wise(layers: Iterable[nn.Module]) -> bool:
    """Whether every part of these layers is: then leaving out positions whose output nobody reads is exact."""
    parts = [part for layer in layers for part in layer.modules() if isinstance(part, ModelPart)]
    return all(part.position_wise for part in parts)


def run_wanted(
    layers: Iterable[nn.Module], x_BND: Tensor, ctx: Context, state: State | None
) -> tuple[Tensor, TrunkState]:
    """As `run_layers`, but of position-wise layers only the positions run that are wanted; the others keep x. A prompt
    then pays for one position of the layers above a cache that the trunk lends (arXiv:2405.05254, section 2.3)."""
    layers = list(layers)
    if ctx.wanted is None or not position_wise(layers):
        return run_layers(layers, x_BND, ctx, state)
    index_BM, inner = ctx.packed(ctx.wanted)
    index_BMD = index_BM.unsqueeze(-1).expand(-1, -1, x_BND.shape[-1])
    y_BMD, after = run_layers(layers, x_BND.gather(1, index_BMD), inner, state)
    return x_BND.scatter(1, index_BMD, y_BMD), after
