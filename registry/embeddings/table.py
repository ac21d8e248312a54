"""One learned vector per token."""

from __future__ import annotations

from torch import Tensor

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts import Cost, Embedding
from lllm.model.layers import TokenTable
from lllm.model.state import State
from lllm.registry import PartConfig, register


@register("embedding", "table")
class TableEmbedding(Embedding):
    """One learned vector per token, std 1: what follows is either normalised or scaled by its own fan-in."""

    class Config(PartConfig):
        """No options."""

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.table = TokenTable(build.vocab, build.token_width)

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        return self.table(tokens), None

    def cost(self, n: int) -> Cost:
        """A lookup contracts nothing."""
        return Cost()
