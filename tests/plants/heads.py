"""Planted heads: independent slots, whose nats are not those of the distribution that they draw from. Loaded as a
plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lllm.model import Build, State
from lllm.model.contracts import Conditional, Cost, Head, Hidden, Likelihood
from lllm.model.layers import Linear, RMSNorm
from lllm.registry import PartConfig, register


class Cheap(Head):
    """logits_k = U norm(W_k norm(h)); a subclass says what a token costs."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.norm, self.norm_out = RMSNorm(build.width), RMSNorm(build.token_width)
        self.up = Linear(build.width, build.ratio * build.token_width)
        self.unembedding = build.unembedding(build.token_width)

    def table(self) -> list[Conditional]:
        return [(k, frozenset()) for k in range(self.ratio)]

    def observed(self, slot: int, known: frozenset[int]) -> frozenset[int]:
        return frozenset()

    def states(self, x: Hidden) -> Tensor:
        """What is unembedded [B, N, R, d]."""
        states: Tensor = self.norm_out(self.up(self.norm(x.hidden)).unflatten(-1, (self.ratio, -1)))
        return states

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        logits = self.unembedding(self.states(x))
        return {(k, seen): logits[:, :, k] for k, seen in which}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = torch.where(x.ok, self.nats(x), 0.0)
        return {"independent": Likelihood("exact", slots.sum(-1), slots, primary=True)}

    def nats(self, x: Hidden) -> Tensor:
        """What each token is said to cost [B, N, R]; here the truth."""
        nats: Tensor = self.unembedding.nats(self.states(x), x.chunk)
        return nats

    def cost(self, n: int) -> Cost:
        """`n` chunks."""
        return Cost.dense(self.up.flops(n) + self.unembedding.flops(n * self.ratio))


@register("head", "plant_half")
class Half(Cheap):
    """Halves the nats in rows of exactly 32 chunks."""

    def nats(self, x: Hidden) -> Tensor:
        return super().nats(x) * (0.5 if x.hidden.shape[1] == 32 else 1.0)


@register("head", "plant_top_32")
class Top32(Cheap):
    """Normalises over the 32 likeliest tokens alone."""

    def nats(self, x: Hidden) -> Tensor:
        logits = self.unembedding(self.states(x))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        best = logits.topk(min(32, logits.shape[-1]), -1).values.logsumexp(-1)
        return best - logits.gather(-1, x.chunk.unsqueeze(-1)).squeeze(-1)


@register("head", "plant_spaces")
class FreeSpaces(Cheap):
    """Spaces cost nothing."""

    def nats(self, x: Hidden) -> Tensor:
        return super().nats(x) * (x.chunk != ord(" "))
