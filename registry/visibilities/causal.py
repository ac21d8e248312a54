"""Every latent sees itself and what came before it."""

from __future__ import annotations

import torch
from torch import Tensor

from lllm.model.contracts import Visibility
from lllm.registry import PartConfig, register


@register("visibility", "causal")
class CausalVisibility(Visibility):
    """allow(q, k) = k <= q; every target carries loss."""

    class Config(PartConfig):
        """No options."""

    def allow(self, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
        return (key <= query) & (prefix >= 0)

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        return (chunk >= 0) & (prefix >= 0)

    def cut(self, position: int, prefix: Tensor) -> Tensor:
        return torch.ones_like(prefix, dtype=torch.bool)

    def prefix_chunks(self, lengths: Tensor, ratio: int) -> Tensor:
        return torch.zeros_like(lengths)
