"""Contract of a trunk: the stack at latent rate."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lllm.model.context import Context
from lllm.model.contracts.base import ModelPart
from lllm.model.state import State

__all__ = ["Trunk", "TrunkState"]


@dataclass(frozen=True)
class TrunkState(State):
    """layers: one state per executed layer; shared: what belongs to the trunk itself (a cache read by many layers)."""

    layers: tuple[State, ...]
    shared: State | None = None


class Trunk(ModelPart):
    """[B, n, D] -> [B, n, D]: the executed order of layers, what they share, and the cache point.

    lends: names that it puts into ctx.memory for mixers that read them.
    """

    kind: ClassVar[str] = "trunk"
    lends: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        """The stream after all layers [B, n, D] and the state after these positions."""
