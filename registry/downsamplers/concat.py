"""Linear concatenation: MegaByte's patch embedding."""

from __future__ import annotations

from torch import Tensor

from lllm.model.build import Build
from lllm.model.contracts import Cost, WindowDownsampler
from lllm.model.layers import Linear, RMSNorm
from lllm.registry import PartConfig, register


@register("downsampler", "concat", refs=["arXiv:2305.07185"])
class ConcatDownsampler(WindowDownsampler):
    """u_c = norm(W [e_{Rc}; ...; e_{Rc+R-1}] + b): a slot's position is the column block of W that it meets.

    The norm stands after the projection, so the first block sees unit scale whatever the embedding's.
    """

    class Config(PartConfig):
        """norm: RMSNorm after the projection."""

        norm: bool = True

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.window = build.ratio
        self.project = Linear(build.ratio * build.token_width, build.width, bias=True)
        self.norm = RMSNorm(build.width) if config.norm else None

    def encode(self, e_BNwd: Tensor) -> Tensor:
        u_BND: Tensor = self.project(e_BNwd.flatten(-2))
        return self.norm(u_BND) if self.norm is not None else u_BND

    def cost(self, n: int) -> Cost:
        """`n` latents."""
        return Cost.dense(self.project.flops(n))
