"""Contract of an embedding."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from lllm.model.context import Context
from lllm.model.contracts.base import ModelPart
from lllm.model.state import State

__all__ = ["Embedding"]


class Embedding(ModelPart):
    """Token ids [B, T] -> token states [B, T, d]; causal and stepwise."""

    kind: ClassVar[str] = "embedding"

    @abstractmethod
    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        """Token states [B, T, d] and the state after them; `state` is that of the tokens before this call."""
