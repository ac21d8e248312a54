"""Contract of a visibility: which latents see which, and which targets carry loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from lllm.model.contracts.base import Cost, ModelPart

__all__ = ["Visibility"]


class Visibility(ModelPart):
    """Trunk position p holds chunk p-1 (p = 0 the learned first latent) and predicts chunk p.

    The leak tests take what is forbidden from here, and check from outside (LINT) that no target that carries loss can
    reach its own or a later chunk through the transitive closure of `allow`.
    """

    kind: ClassVar[str] = "visibility"
    noncausal_region: bool = False

    @abstractmethod
    def allow(self, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
        """May trunk position `query` see `key`? Broadcastable positions and M; bool."""

    @abstractmethod
    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        """Does target chunk `chunk` carry loss, given M? Broadcastable; bool."""

    @abstractmethod
    def cut(self, position: int, prefix: Tensor) -> Tensor:
        """May a call boundary fall before trunk position `position`? [B] bool."""

    @abstractmethod
    def prefix_chunks(self, lengths: Tensor, ratio: int) -> Tensor:
        """M of rows whose prompts have `lengths` [B] tokens."""

    def forward(self, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
        """`allow`."""
        return self.allow(query, key, prefix)

    def cost(self, n: int) -> Cost:
        """A visibility contracts nothing."""
        return Cost()
