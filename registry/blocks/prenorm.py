"""The pre-norm residual block."""

from __future__ import annotations

from torch import Tensor

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import FFN, Block, BlockState, Cost, Mixer
from lllm.model.layers import RMSNorm
from lllm.model.state import State
from lllm.registry import PartConfig, register


@register("block", "prenorm", refs=["arXiv:2002.04745"])
class PreNormBlock(Block):
    """x + mixer(norm(x)), then x + ffn(norm(x))."""

    class Config(PartConfig):
        """No options."""

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.norm_mixer = RMSNorm(build.width)
        self.mixer: Mixer = build.part("mixer")
        self.norm_ffn = RMSNorm(build.width)
        self.ffn: FFN = build.part("ffn")

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        before = state if isinstance(state, BlockState) else BlockState(None)
        y_BND, mixer = self.mixer(self.norm_mixer(x_BND), ctx, before.mixer)
        x_BND = x_BND + y_BND
        y_BND, ffn = self.ffn(self.norm_ffn(x_BND), ctx, before.ffn)
        return x_BND + y_BND, BlockState(mixer, ffn)

    def cost(self, n: int) -> Cost:
        """Mixer and ffn."""
        return self.mixer.cost(n) + self.ffn.cost(n)
