"""Contracts of what runs inside a layer of the trunk: mixer, ffn and the block that joins them."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from lllm.model.context import Context
from lllm.model.contracts.base import ModelPart
from lllm.model.state import State

__all__ = ["FFN", "Block", "Mixer"]


class Mixer(ModelPart):
    """[B, n, D] -> [B, n, D], mixing along positions, causally.

    honours_visibility: it obeys ctx.visibility; one that is causal by construction does not and is refused with a
    visibility that has a non-causal region.
    reads: names in ctx.memory that it needs.
    """

    kind: ClassVar[str] = "mixer"
    honours_visibility: bool = False
    reads: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        """Outputs (of no meaning where ctx.ok is False) and the state after these positions.

        `state` None is a row's beginning. Parallel, chunked and stepwise are one method: outputs for positions
        0..n-1 then n..m-1 with the carried state equal those of 0..m-1 at once. Never updates a state in place.
        """


class FFN(ModelPart):
    """[B, n, D] -> [B, n, D], position-wise."""

    kind: ClassVar[str] = "ffn"

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context) -> Tensor:
        """Outputs [B, n, D]."""


class Block(ModelPart):
    """How a mixer and an ffn join the residual stream: x [B, n, D] -> x [B, n, D]."""

    kind: ClassVar[str] = "block"

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        """The residual stream after this layer, and the layer's state."""
