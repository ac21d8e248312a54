"""Strided causal convolution over the chunk and the tokens before it."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lllm.errors import UserError
from lllm.model.build import Build
from lllm.model.contracts import Cost, WindowDownsampler
from lllm.model.layers import Linear, RMSNorm
from lllm.registry import PartConfig, Search, register


@register("downsampler", "conv", refs=["arXiv:2305.07185"])
class ConvDownsampler(WindowDownsampler):
    """u_c = norm(act(sum_j A_j e_{Rc+R-1-j}) + P mean(chunk)), j < kernel: words that straddle a chunk's edge are seen
    whole. Padding is on the left only; kernel = ratio without activation and pool is `concat`."""

    class Config(PartConfig):
        """kernel: tokens seen, at least the ratio (None: twice the ratio). pool: add the chunk's projected mean."""

        kernel: Annotated[Annotated[int, Field(ge=1)] | None, Search(choices=(None, 8, 16))] = None
        activation: Literal["silu", "none"] = "silu"
        pool: Annotated[bool, Search(choices=(True, False))] = True
        norm: bool = True

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.window = 2 * build.ratio if config.kernel is None else config.kernel
        if self.window < build.ratio:
            raise UserError(
                f"model.downsampler.kernel = {config.kernel}: expected at least model.ratio, {build.ratio}, or a token "
                "of each chunk would never be seen"
            )
        self.silu = config.activation == "silu"
        self.conv = Linear(self.window * build.token_width, build.width, bias=True)
        self.pool = Linear(build.token_width, build.width) if config.pool else None
        self.norm = RMSNorm(build.width) if config.norm else None

    def encode(self, e_BNwd: Tensor) -> Tensor:
        y_BND: Tensor = self.conv(e_BNwd.flatten(-2))
        u_BND = F.silu(y_BND) if self.silu else y_BND
        if self.pool is not None:
            u_BND = u_BND + self.pool(e_BNwd[..., -self.ratio :, :].mean(-2))
        return self.norm(u_BND) if self.norm is not None else u_BND

    def cost(self, n: int) -> Cost:
        """`n` latents."""
        return Cost.dense(self.conv.flops(n) + (self.pool.flops(n) if self.pool is not None else 0))
