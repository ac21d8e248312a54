"""A stack whose mixers follow a repeated pattern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import Cost, Trunk
from lllm.model.stack import run_layers, total_cost
from lllm.model.state import State
from lllm.registry import Names, Node, PartConfig, register


@register("trunk", "pattern")
class PatternTrunk(Trunk):
    """Layer i uses mixer i modulo the length of `mixers`; block and ffn are the composition's."""

    class Config(PartConfig):
        """mixers: names, or nodes with `use`, repeated over `depth` layers."""

        mixers: Annotated[list[Annotated[Node, Names("mixer")]], Field(min_length=1)]
        depth: Annotated[int, Field(ge=1, le=1024)] = 4

    @classmethod
    def examples(cls) -> Sequence[Mapping[str, Any]]:
        return ({"mixers": ["attention"], "depth": 2},)

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        names = [config.mixers[i % len(config.mixers)] for i in range(config.depth)]
        self.layers = nn.ModuleList(
            build.at_layer(i, config.depth).using("mixer", name).part("block") for i, name in enumerate(names)
        )
        self.shared = nn.ModuleDict(build.shared)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        return run_layers(self.layers, x_BND, ctx, state)

    def cost(self, n: int) -> Cost:
        """The sum of the layers."""
        return total_cost(self.layers, n)
