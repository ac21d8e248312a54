"""Planted visibilities. Loaded as a plugin."""

from __future__ import annotations

from torch import Tensor

from lllm.model.contracts import Visibility
from lllm.registry import register


@register("visibility", "plant_quarter")
class Quarter(Visibility):
    """Of the chunks after the eighth every eighth alone carries loss: a quarter of a row of 64."""

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        return super().loss(chunk, prefix) & ((chunk < 8) | (chunk % 8 == 7))


@register("visibility", "plant_next_position")
class NextPosition(Visibility):
    """A prompt is read both ways, as it may be, and from position 30 on each sees the next one, too."""

    noncausal_region = True

    def allow(self, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
        inside = (prefix > 0) & (query <= prefix) & (key <= prefix)
        return (key <= query + (query >= 30)) | inside

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        return chunk >= prefix

    def prefix_chunks(self, lengths: Tensor, ratio: int) -> Tensor:
        return lengths // ratio
