"""Parts by which rows of one experiment score other targets, or the same in other tokens."""

from __future__ import annotations

from torch import Tensor

from lllm.model.contracts import Visibility
from lllm.registry import register
from tests.data.toys import Inflated, Pairs


@register("visibility", "toy_quarter")
class Quarter(Visibility):
    """Every fourth chunk carries loss."""

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        return (chunk % 4 == 0) & (prefix >= 0)


@register("visibility", "toy_beginning")
class Beginning(Visibility):
    """The first two chunks of a row are a prompt."""

    noncausal_region = True

    def assign(self, prefix: Tensor, chunks: Tensor, rows: Tensor, noise: object) -> Tensor:
        return chunks.clamp(max=2)

    def prefix_chunks(self, lengths: Tensor, ratio: int) -> Tensor:
        return (lengths // ratio).clamp(max=2)

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        return chunk >= prefix


@register("tokenizer", "toy_pairs")
class PairsOfA(Pairs):
    """One id for "a" and what comes after it."""

    lead = ord("a")


@register("tokenizer", "toy_inflated")
class InflatedThe(Inflated):
    """A cheat: "the" is said to be 30 bytes."""
