"""SwiGLU feed-forward."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import FFN, Cost
from lllm.model.layers import Linear
from lllm.model.state import State
from lllm.registry import PartConfig, register


@register("ffn", "swiglu", refs=["arXiv:2002.05202"])
class SwiGLU(FFN):
    """W_out (silu(W_gate x) * W_in x): three matrices, by default 8/3 as wide as the stream."""

    class Config(PartConfig):
        """hidden: inner width (None: 8/3 of the width, rounded up to a multiple of 8)."""

        hidden: Annotated[int, Field(ge=1, le=1 << 24)] | None = None

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        hidden = config.hidden or -(-8 * build.width // 24) * 8
        self.gate_in = Linear(build.width, 2 * hidden)
        self.out = Linear(hidden, build.width, gain=(2 * build.depth) ** -0.5)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        gate, value = self.gate_in(x_BND).chunk(2, -1)
        return self.out(F.silu(gate) * value), None

    def cost(self, n: int) -> Cost:
        """6 width hidden per position."""
        return Cost.dense(self.gate_in.flops(n) + self.out.flops(n))
