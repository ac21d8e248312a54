"""Squared-ReLU feed-forward."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import FFN, Cost
from lllm.model.layers import Linear
from lllm.model.state import State
from lllm.registry import PartConfig, register


class _SquaredReLU(torch.autograd.Function):
    """(relu(x), relu(x)^2). Autograd's own form, relu(x).square(), makes seven passes over memory forward and backward;
    this makes four. relu(x) is an output so that second derivatives reach x through it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x.clamp_min(0)
        ctx.save_for_backward(y)
        ctx.set_materialize_grads(False)
        return y, y * y

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor | None, grad_square: Tensor | None) -> Tensor | None:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        grad = None if grad_square is None else (grad_square * y).mul_(2)
        if grad_y is None:
            return grad
        through = grad_y * (y > 0)
        return through if grad is None else grad + through


@register("ffn", "relu2", refs=["arXiv:2109.08668"])
class SquaredReLU(FFN):
    """W_out relu(W_in x)^2: two matrices, by default 4 times as wide as the stream."""

    class Config(PartConfig):
        """hidden: inner width (None: 4 times the width)."""

        hidden: Annotated[int, Field(ge=1)] | None = None

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        hidden = config.hidden or 4 * build.width
        self.into = Linear(build.width, hidden)
        self.out = Linear(hidden, build.width, gain=(2 * build.depth) ** -0.5)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        _, square_BNF = _SquaredReLU.apply(self.into(x_BND))  # type: ignore[no-untyped-call]
        return self.out(square_BNF), None

    def cost(self, n: int) -> Cost:
        """4 width hidden per position."""
        return Cost.dense(self.into.flops(n) + self.out.flops(n))
