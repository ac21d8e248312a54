"""Squared-ReLU feed-forward."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from lllm.kernels.squared_relu import squared_relu
from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import FFN, Cost
from lllm.model.layers import Linear
from lllm.model.state import State
from lllm.registry import PartConfig, register


@register("ffn", "relu2", refs=["arXiv:2109.08668"])
class SquaredReLU(FFN):
    """W_out relu(W_in x)^2: two matrices, by default 4 times as wide as the stream."""

    class Config(PartConfig):
        """hidden: inner width (None: 4 times the width)."""

        hidden: Annotated[int, Field(ge=1, le=1 << 24)] | None = None

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        hidden = config.hidden or 4 * build.width
        self.into = Linear(build.width, hidden)
        self.out = Linear(hidden, build.width, gain=(2 * build.depth) ** -0.5)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        return self.out(squared_relu(self.into(x_BND))), None

    def cost(self, n: int) -> Cost:
        """4 width hidden per position."""
        return Cost.dense(self.into.flops(n) + self.out.flops(n))
