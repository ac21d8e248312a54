"""Ratio 1: every token is its own latent, the flat control arm."""

from __future__ import annotations

from torch import Tensor

from lllm.errors import UserError
from lllm.model.build import Build
from lllm.model.contracts import Cost, WindowDownsampler
from lllm.registry import PartConfig, register


@register("downsampler", "identity")
class IdentityDownsampler(WindowDownsampler):
    """Each token state is a latent as it is; ratio 1 only, and token width equals width."""

    class Config(PartConfig):
        """No options."""

    ratios = (1,)
    window = 1

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        if build.ratio == 1 and build.token_width != build.width:
            raise UserError(
                f"model.token_width = {build.token_width}: downsampler 'identity' needs it equal to model.width, "
                f"{build.width}"
            )

    def encode(self, e_BNwd: Tensor) -> Tensor:
        return e_BNwd.squeeze(-2)

    def cost(self, n: int) -> Cost:
        """Nothing is contracted."""
        return Cost()
