"""Toy parts that start, tie, name and refuse as the contracts allow. They live in the tests only."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lllm.model import Build, Context, Role, State, parameter
from lllm.model.contracts import FFN, Cost, Hidden
from lllm.model.layers import Linear, TokenTable
from lllm.model.sampling import Sampling
from lllm.registry import PartConfig, register
from tests.check.heads import SamplerHead
from tests.train.toys_model import ChunkHead


@register("ffn", "toy_started")
class StartedFFN(FFN):
    """Starts its decay log-uniform and its matrix orthogonal, as recurrent mixers do."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.into = Linear(build.width, build.width)
        self.decay = parameter(build.width, role=Role("vector", decay=False))

    def initialise_(self, stream: Callable[[str], torch.Generator]) -> None:
        self.decay.copy_(-6 + 5 * torch.rand(self.width, generator=stream("decay")))
        drawn = torch.randn(self.width, self.width, generator=stream("into"), dtype=torch.float64)
        self.into.weight.copy_(torch.linalg.qr(drawn)[0])

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        return self.into(x_BND) * self.decay.exp(), None

    def cost(self, n: int) -> Cost:
        """One square matrix."""
        return Cost.dense(self.into.flops(n))


@register("ffn", "toy_named")
class NamedFFN(FFN):
    """Adds an auxiliary loss, a statistic and a metric under its own path, and opens by the statistic's last value."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.into = Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        y = torch.tanh(self.into(x_BND)) * ctx.last.get(self.path, 1.0)
        size = (y.square().mean(-1) * ctx.ok).sum(1) / ctx.ok.sum(1).clamp(min=1)
        ctx.add_aux(self.path, size)
        ctx.add_statistic(self.path, size)
        ctx.add_metric(self.path, size)
        return y, None

    def cost(self, n: int) -> Cost:
        """One square matrix."""
        return Cost.dense(self.into.flops(n))


@register("head", "toy_tied")
class TiedHead(ChunkHead):
    """Its table of tokens is its unembedding."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.tokens = TokenTable(build.vocab, build.token_width)
        self.tokens.weight = self.unembedding.weight

    def states(self, x: Hidden) -> Tensor:
        one: Tensor = self.tokens(torch.ones_like(x.chunk))
        return super().states(x) + one


@register("head", "toy_whole")
class WholeHead(SamplerHead):
    """Draws whole chunks and can continue none."""

    prefix_conditional = "none"

    def draw(self, opened: Tensor, x: Hidden, sampling: Sampling, state: State | None = None) -> Tensor:
        assert not x.ok.any()
        return super().draw(opened, x, sampling, state)
