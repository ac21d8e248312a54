"""A part that leaves behind whatever a forward pass may."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from lllm.model import Context, State
from lllm.model.contracts import FFN, Cost
from lllm.model.layers import Linear
from lllm.registry import Build, PartConfig, register


@register("ffn", "toy_forgetful")
class Forgetful(FFN):
    """Changes everything that a forward pass may: a buffer, plain attributes, and the global generators."""

    class Config(PartConfig):
        """No options."""

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.inner = Linear(build.width, build.width)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[int] = []
        self.kept: Tensor | None = None

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        self.calls += 1
        self.seen.append(len(x_BND))
        self.kept = x_BND.detach()
        torch.rand(3), np.random.random(), random.random()
        return self.inner(x_BND), None

    def cost(self, n: int) -> Cost:
        return Cost.dense(self.inner.flops(n))
