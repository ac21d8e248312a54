"""Independent slots: each token of the chunk from the latent alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lllm.errors import UserError
from lllm.model.build import Build
from lllm.model.contracts import Conditional, Cost, Head, Hidden, Likelihood
from lllm.model.layers import Linear, RMSNorm
from lllm.model.state import State
from lllm.registry import PartConfig, register


class SlotMLP(nn.Module):
    """SwiGLU from the latent to one slot."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_in = Linear(width, 2 * hidden)
        self.out = Linear(hidden, width, gain=0.5)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate_in(x).chunk(2, -1)
        y: Tensor = self.out(F.silu(gate) * value)
        return y

    def flops(self, n: int) -> int:
        return self.gate_in.flops(n) + self.out.flops(n)


@register("head", "parallel", refs=["arXiv:2404.19737", "arXiv:1811.03115"])
class ParallelHead(Head):
    """g_k = h + MLP_k(norm(h)), logits_k = U norm(g_k), U shared by the slots.

    The sum of the slots' nats is the exact likelihood of p(chunk | h) = prod_k p_k(x_k | h): a model that pays the
    conditional total correlation of the chunk.
    """

    class Config(PartConfig):
        """hidden: inner width of each slot's MLP (None: 8/3 of the width, rounded up to a multiple of 8; 0: no MLP,
        the plain unembedding of a flat model, at ratio 1 only)."""

        hidden: Annotated[int, Field(ge=0, le=1 << 24)] | None = None

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        hidden = -(-8 * build.width // 24) * 8 if config.hidden is None else config.hidden
        if hidden == 0 and build.ratio > 1:
            raise UserError(
                f"model.head.hidden = 0: {build.ratio} slots without an MLP of their own would be the same "
                "distribution; expected at least 1, or model.ratio = 1"
            )
        self.norm = RMSNorm(build.width)
        self.slots = nn.ModuleList(SlotMLP(build.width, hidden) for _ in range(build.ratio if hidden else 0))
        self.norm_out = RMSNorm(build.width)
        self.unembedding = build.unembedding(build.width)

    def table(self) -> list[Conditional]:
        return [(k, frozenset()) for k in range(self.ratio)]

    def observed(self, slot: int, known: frozenset[int]) -> frozenset[int]:
        return frozenset()

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        normed = self._normed(x.hidden)
        return {(k, seen): self.unembedding(self._slot(x.hidden, normed, k)) for k, seen in which}

    def open(self, hidden: Tensor) -> Tensor:
        """All slots' logits [B, R, V] at once: none of them waits for another."""
        normed = self._normed(hidden)
        logits: Tensor = self.unembedding(torch.stack([self._slot(hidden, normed, k) for k in range(self.ratio)], 1))
        return logits

    def slot_logits(self, opened: Tensor, x: Hidden, slot: Tensor, state: State | None = None) -> Tensor:
        return opened[torch.arange(len(slot), device=slot.device), slot]

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        normed = self._normed(x.hidden)
        g_BNRD = torch.stack([self._slot(x.hidden, normed, k) for k in range(self.ratio)], 2)
        slots = self.unembedding.nats(g_BNRD, x.chunk) * x.ok
        return {"independent": Likelihood("exact", slots.sum(-1), slots, primary=True)}

    def cost(self, n: int) -> Cost:
        """`n` chunks: every slot's MLP, and the unembedding of every token."""
        mlps = sum(slot.flops(n) for slot in self.slots if isinstance(slot, SlotMLP))
        return Cost.dense(mlps + self.unembedding.flops(n * self.ratio))

    def _normed(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden) if self.slots else hidden

    def _slot(self, hidden: Tensor, normed: Tensor, k: int) -> Tensor:
        g: Tensor = self.norm_out(hidden + self.slots[k](normed) if self.slots else hidden)
        return g
