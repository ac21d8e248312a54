"""Planted downsamplers: linear concatenation, and the first token of the next chunk. Loaded as a plugin."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from lllm.model import Build, Context
from lllm.model.contracts import Cost, Encoded, WindowDownsampler
from lllm.model.layers import Linear
from lllm.registry import PartConfig, register


class Peeking(WindowDownsampler):
    """u_i = W chunk_i + P (first token of chunk i + 1), the latter from latent `first` on, in the parallel form. A step
    cannot, and what a prompt has is encoded as the parallel form does."""

    first = 0

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.window = build.ratio
        self.project = Linear(build.ratio * build.token_width, build.width)
        self.peek = Linear(build.token_width, build.width)

    def encode(self, e_BNwd: Tensor) -> Tensor:
        u_BND: Tensor = self.project(e_BNwd.flatten(-2))
        return u_BND

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        made = super().forward(e_BTd, ctx)
        begins = (e_BTd * ctx.ok.unsqueeze(-1))[:, self.ratio :: self.ratio]
        later = F.pad(self.peek(begins), (0, 0, 0, 1))[:, self.first :]
        return replace(made, latents=made.latents + F.pad(later, (0, 0, made.latents.shape[1] - later.shape[1], 0)))

    def cost(self, n: int) -> Cost:
        """Both matrices."""
        return Cost.dense(self.project.flops(n) + self.peek.flops(max(0, n - 1)))


@register("downsampler", "plant_from_16")
class FromChunk16(Peeking):
    """From chunk 16 on each latent sees the first token of the next chunk."""

    first = 16


@register("downsampler", "plant_at_ratio")
class AtRatio(Peeking):
    """At one ratio alone each latent sees the first token of the next chunk. A run takes ratios up to 8, all of which
    `lllm check` tries: so it is another one unless the run's settings say it, too."""

    class Config(PartConfig):
        """ratio: the ratio at which it cheats."""

        ratio: int = 16

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.first = 0 if build.ratio == config.ratio else 1 << 20
