"""A stack of equal layers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import Cost, Trunk
from lllm.model.stack import run_layers, total_cost
from lllm.model.state import State
from lllm.registry import PartConfig, register


@register("trunk", "uniform")
class UniformTrunk(Trunk):
    """`depth` blocks of the composition's block, mixer and ffn, one after the other."""

    class Config(PartConfig):
        """depth: number of layers."""

        depth: Annotated[int, Field(ge=1, le=1024)] = 4

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.layers = nn.ModuleList(build.at_layer(i, config.depth).part("block") for i in range(config.depth))
        self.shared = nn.ModuleDict(build.shared)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        return run_layers(self.layers, x_BND, ctx, state)

    def cost(self, n: int) -> Cost:
        """The sum of the layers."""
        return total_cost(self.layers, n)
