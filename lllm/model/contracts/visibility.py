"""Contract of a visibility: which latents see which, and which targets carry loss."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.model.contracts.base import Cost, ModelPart
from lllm.model.noise import Noise
from lllm.registry import PartConfig

__all__ = ["CAUSAL", "Visibility"]


class Visibility(ModelPart):
    """Trunk position p holds chunk p-1 (p = 0 the learned first latent) and predicts chunk p. The methods here are
    causal; a part overrides what differs.

    The leak tests take what is forbidden from here, and check from outside (LINT) that no target that carries loss can
    reach its own or a later chunk through the transitive closure of `allow`.
    M, the number of complete chunks in a row's non-causal prefix, is data of the row; 0 is causal. It is of latents:
    parts at token rate, and those over the slots of a chunk, are causal.
    """

    kind: ClassVar[str] = "visibility"
    noncausal_region: bool = False

    @property
    def leaves_out(self) -> bool:
        """Whether it gives `loss` of its own: some targets may carry none, and nobody reads what predicts them."""
        return type(self).loss is not Visibility.loss

    def __init__(self, config: PartConfig | None = None, build: Build | None = None) -> None:
        nn.Module.__init__(self)

    def allow(self, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
        """May trunk position `query` see `key`? Broadcastable positions and M; bool."""
        return (key <= query) & (prefix >= 0)

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        """Does target chunk `chunk` carry loss, given M? Broadcastable; bool."""
        return (chunk >= 0) & (prefix >= 0)

    def assign(self, prefix: Tensor, chunks: Tensor, rows: Tensor, noise: Noise) -> Tensor:
        """M [B] of the rows of a batch. By default what the data say, `prefix` [B]: the complete chunks of the tokens
        at the row's beginning that are read and never scored; 0 where there is no non-causal region. chunks [B]:
        complete chunks per row."""
        return prefix if self.noncausal_region else torch.zeros_like(prefix)

    def prefix_chunks(self, lengths: Tensor, ratio: int) -> Tensor:
        """M of rows whose prompts have `lengths` [B] tokens."""
        return torch.zeros_like(lengths)

    def cost(self, n: int) -> Cost:
        """A visibility contracts nothing."""
        return Cost()


CAUSAL = Visibility()
"""What holds at token rate."""
