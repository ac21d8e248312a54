"""A small causal transformer over the slots of each chunk: MegaByte's local model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.model.contracts import Conditional, Cost, Head, Hidden, Likelihood
from lllm.model.layers import Linear, RMSNorm, TokenTable
from lllm.model.roles import Role, parameter
from lllm.model.sampling import Sampling
from lllm.model.stack import run_layers, total_cost
from lllm.model.state import State
from lllm.registry import Names, Node, PartConfig, Search, register


@register("head", "local_ar", refs=["arXiv:2305.07185"])
class LocalARHead(Head):
    """s_k = (W_up h)_k + (start if k = 0 else E x_{k-1}) + pos_k, then `depth` causal layers over the slots.

    h is normed first: the trunk's stream has no scale of its own. The nats are the exact likelihood of the chunk. The
    layers are ordinary parts at width `width`, positions 0..R-1.
    """

    class Config(PartConfig):
        """depth: layers over the slots. width: theirs (None: half the latent width). block, mixer, ffn: their parts."""

        depth: Annotated[int, Field(ge=1, le=1024), Search(1, 4)] = 2
        width: Annotated[int, Field(ge=2, le=1 << 20)] | None = None
        block: Annotated[Node, Names("block")] = "prenorm"
        mixer: Annotated[Node, Names("mixer")] = "attention"
        ffn: Annotated[Node, Names("ffn")] = "swiglu"

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.local = config.width or build.width // 2
        inner = build.at_width(self.local).using("mixer", config.mixer).using("ffn", config.ffn)
        self.norm_latent = RMSNorm(build.width)
        self.up = Linear(build.width, build.ratio * self.local)
        self.tokens = TokenTable(build.vocab, self.local)
        self.start = parameter(self.local, role=Role("vector", std=1.0, decay=False))
        self.position = parameter(build.ratio, self.local, role=Role("table", std=0.1, decay=False))
        self.layers = nn.ModuleList(
            inner.at_layer(i, config.depth).part("block", config.block) for i in range(config.depth)
        )
        self.shared = nn.ModuleDict(inner.shared)
        self.norm = RMSNorm(self.local)
        self.unembedding = build.unembedding(self.local)

    def table(self) -> list[Conditional]:
        return [(k, frozenset(range(k))) for k in range(self.ratio)]

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        slots = max(k for k, _ in which) + 1
        up = self.open(x.hidden)[:, :, :slots]
        logits = self.unembedding(self._run(up, x)[0])
        return {(k, seen): logits[:, :, k] for k, seen in which}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        normed, _ = self._run(self.open(x.hidden), x, x.ok)
        slots = self.unembedding.nats(normed, x.chunk) * x.ok
        return {"autoregressive": Likelihood("exact", slots.sum(-1), slots, primary=True)}

    def open(self, hidden: Tensor) -> Tensor:
        """What the latents [..., D] say to each slot [..., R, d_l]."""
        return self.up(self.norm_latent(hidden)).unflatten(-1, (self.ratio, self.local))  # type: ignore[no-any-return]

    def slot_logits(self, opened: Tensor, x: Hidden, slot: Tensor, state: State | None = None) -> Tensor:
        up = opened[:, None, : int(slot.max()) + 1]
        normed, _ = self._run(up, x)
        return self.unembedding(normed[torch.arange(len(slot), device=slot.device), 0, slot])  # type: ignore[no-any-return]

    def draw(self, opened: Tensor, x: Hidden, sampling: Sampling, state: State | None = None) -> Tensor:
        """Slot by slot, each with one step of the layers over the states that they carry within the chunk."""
        chunk, count = x.chunk[:, 0], x.ok[:, 0].sum(-1)
        first, carried = int(count.min()), None
        for slot in range(first, self.ratio):
            start = 0 if carried is None else slot
            up = opened[:, None, start : slot + 1]
            normed, carried = self._run(up, replace(x, chunk=chunk[:, None]), None, start, carried)
            active = count <= slot
            drawn = sampling(self.unembedding(normed[:, 0, -1]), active)
            here = active[:, None] & (torch.arange(self.ratio, device=chunk.device) == slot)
            chunk = torch.where(here, drawn[:, None], chunk)
        return chunk

    def cost(self, n: int) -> Cost:
        """`n` chunks: up-projection, each chunk's layers over R positions, and the unembedding of every token."""
        layers = total_cost(self.layers, self.ratio)
        outside = self.up.flops(n) + self.unembedding.flops(n * self.ratio)
        return Cost(outside + n * layers.flops, outside + n * layers.executed)

    def _run(
        self, up: Tensor, x: Hidden, ok: Tensor | None = None, start: int = 0, carried: State | None = None
    ) -> tuple[Tensor, State]:
        """Normed outputs [B, N, n, d_l] of slots start..start+n-1, and the layers' states after them. up of that shape;
        ok [B, N, n]: the slots that are there (None: all). Slot k reads the chunk's tokens before k only."""
        batch, n, slots, width = up.shape
        ok = torch.ones(batch, n, slots, dtype=torch.bool, device=up.device) if ok is None else ok
        left = self.tokens(x.chunk[:, :, max(start - 1, 0) : start + slots - 1])
        if start == 0:
            left = torch.cat([self.start.expand(batch, n, 1, width), left], 2)
        s = (up + left + self.position[start : start + slots]).flatten(0, 1)
        y, after = run_layers(self.layers, s, x.ctx.local(ok, start), carried)
        return self.norm(y).view(batch, n, slots, width), after
