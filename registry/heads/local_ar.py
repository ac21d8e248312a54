"""A small causal transformer over the slots of each chunk: MegaByte's local model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import Conditional, Cost, Head, Hidden, Likelihood
from lllm.model.layers import Linear, RMSNorm, TokenTable
from lllm.model.roles import Role, parameter
from lllm.model.stack import run_layers
from lllm.model.state import State
from lllm.registry import Node, PartConfig, Search, register


@register("head", "local_ar", refs=["arXiv:2305.07185"])
class LocalARHead(Head):
    """s_k = (W_up h)_k + (start if k = 0 else E x_{k-1}) + pos_k, then `depth` causal layers over the slots.

    Its nats are the exact likelihood of the chunk. The layers are ordinary parts at width `width`, positions 0..R-1.
    """

    class Config(PartConfig):
        """depth: layers over the slots. width: theirs (None: half the latent width). block, mixer, ffn: their parts."""

        depth: Annotated[int, Field(ge=1), Search(1, 4)] = 2
        width: Annotated[int, Field(ge=2)] | None = None
        block: Node = "prenorm"
        mixer: Node = "attention"
        ffn: Node = "swiglu"

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.local = config.width or build.width // 2
        inner = build.at_width(self.local).using("mixer", config.mixer).using("ffn", config.ffn)
        self.up = Linear(build.width, build.ratio * self.local)
        self.tokens = TokenTable(build.vocab, self.local)
        self.start = parameter(self.local, role=Role("vector", std=1.0, decay=False))
        self.position = parameter(build.ratio, self.local, role=Role("table", std=0.1, decay=False))
        self.layers = nn.ModuleList(
            inner.at_layer(i, config.depth).part("block", config.block) for i in range(config.depth)
        )
        self.norm = RMSNorm(self.local)
        self.unembedding = build.unembedding(self.local)

    def table(self) -> list[Conditional]:
        return [(k, frozenset(range(k))) for k in range(self.ratio)]

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        last = max(k for k, _ in which)
        logits = self.unembedding(self._run(x, last + 1))
        return {(k, seen): logits[:, :, k] for k, seen in which}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = self.unembedding.nats(self._run(x, self.ratio), x.chunk) * x.ok
        return {"autoregressive": Likelihood("exact", slots.sum(-1), slots, primary=True)}

    def cost(self, n: int) -> Cost:
        """`n` chunks: up-projection, each chunk's layers over R positions, and the unembedding of every token."""
        layers = sum((layer.cost(self.ratio) for layer in self.layers), Cost())
        outside = self.up.flops(n) + self.unembedding.flops(n * self.ratio)
        return Cost(outside + n * layers.flops, outside + n * layers.executed)

    def _run(self, x: Hidden, slots: int) -> Tensor:
        """Normed outputs [B, N, slots, d_l]: slot k has read the chunk's tokens before k only."""
        batch, n, _ = x.hidden.shape
        up = self.up(x.hidden).view(batch, n, self.ratio, self.local)[:, :, :slots]
        left = self.tokens(x.chunk[:, :, : slots - 1])
        start = self.start.expand(batch, n, 1, self.local)
        s = (up + torch.cat([start, left], 2) + self.position[:slots]).flatten(0, 1)
        ctx = Context.of(torch.ones(s.shape[:2], dtype=torch.bool, device=s.device), x.ctx.visibility)
        y, _ = run_layers(self.layers, s, replace(ctx, train=x.ctx.train, progress=x.ctx.progress), None)
        normed: Tensor = self.norm(y).view(batch, n, slots, self.local)
        return normed
