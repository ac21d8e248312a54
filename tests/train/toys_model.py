"""Toy model parts that need something unusual of the trainer. They live in the tests only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.model import Build, Context, State
from lllm.model.contracts import (
    FFN,
    Conditional,
    Cost,
    Head,
    Hidden,
    Likelihood,
    Rows,
    Stage,
    WindowDownsampler,
)
from lllm.model.layers import Linear, TokenTable
from lllm.model.noise import Noise
from lllm.registry import PartConfig, register


@register("ffn", "toy_steered")
class SteeredFFN(FFN):
    """In-model noise, an auxiliary loss, a metric, and a batch statistic whose last global value steers it."""

    class Config(PartConfig):
        """noise: its size."""

        noise: float = 0.1

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.name, self.noise = f"steered.{build.layer}", config.noise
        self.into = Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        y = self.into(x_BND)
        if ctx.train:
            if self.noise:
                drawn = ctx.noise.normal(self.name, ctx.rows, *y.shape[1:]).to(y.dtype)
                y = y + self.noise * drawn * ctx.last.get(self.name, 1.0)
            size = (y.square().mean(-1) * ctx.ok).sum(1) / ctx.ok.sum(1)
            ctx.add_aux(self.name, 0.1 * size)
            ctx.add_statistic(self.name, size)
            ctx.add_metric(self.name, size)
            ctx.add_metric(f"{self.name}.whole", size.mean())
        return torch.tanh(y), None

    def cost(self, n: int) -> Cost:
        """One square matrix."""
        return Cost.dense(self.into.flops(n))


@register("head", "toy_chunk")
class ChunkHead(Head):
    """A bound per chunk that cannot be told apart by slots, and an exact likelihood that can."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.up = Linear(build.width, build.ratio * build.token_width)
        self.unembedding = build.unembedding(build.token_width)

    def table(self) -> list[Conditional]:
        return [(k, frozenset()) for k in range(self.ratio)]

    def observed(self, slot: int, known: frozenset[int]) -> frozenset[int]:
        return frozenset()

    def states(self, x: Hidden) -> Tensor:
        """What is unembedded [B, N, R, d]."""
        batch, n, _ = x.hidden.shape
        states: Tensor = self.up(x.hidden).view(batch, n, self.ratio, -1)
        return states

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        logits = self.unembedding(self.states(x))
        return {(k, seen): logits[:, :, k] for k, seen in which}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = self.unembedding.nats(self.states(x), x.chunk) * x.ok
        bound = (1.25 * slots.sum(-1)) * x.ok.any(-1)
        return {"bound": Likelihood("bound", bound, primary=True), "exact": Likelihood("exact", slots.sum(-1), slots)}

    def cost(self, n: int) -> Cost:
        """`n` chunks."""
        return Cost.dense(self.up.flops(n) + self.unembedding.flops(n * self.ratio))


@register("downsampler", "toy_autoencoder")
class AutoencoderDownsampler(WindowDownsampler):
    """Its projection is trained first, to let each chunk's tokens be told from the latent, and then frozen."""

    class Config(PartConfig):
        """steps, lr: of the stage. worst: nats per token above which the stage is refused."""

        steps: int = 20
        lr: float = 0.03
        worst: float = 5.5

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.config, self.window, self.vocab = config, build.ratio, build.vocab
        self.tokens = TokenTable(build.vocab, build.token_width)
        self.project = Linear(build.ratio * build.token_width, build.width)
        self.decode = Linear(build.width, build.ratio * build.vocab)

    def encode(self, e_BNwd: Tensor) -> Tensor:
        latents: Tensor = self.project(e_BNwd.flatten(-2))
        return latents

    def reconstruction(self, batch: Rows, noise: Noise) -> Tensor:
        """Nats per token of each row, the latent blurred."""
        chunks = batch.tokens.view(len(batch.rows), -1, self.ratio)
        u_BND = self.encode(self.tokens(chunks))
        u_BND = u_BND + 0.1 * noise.normal("blur", batch.rows, *u_BND.shape[1:]).to(u_BND.dtype)
        logits = self.decode(u_BND).view(*u_BND.shape[:2], self.ratio, self.vocab)
        nats = F.cross_entropy(logits.flatten(0, 2), chunks.flatten(), reduction="none").view(batch.ok.shape)
        return (nats * batch.ok).sum(1) / batch.ok.sum(1)

    def gate(self, batch: Rows) -> str | None:
        with torch.no_grad():
            nats = float(self.reconstruction(batch, Noise()).mean())
        return (
            None if nats < self.config.worst else f"{nats:.2f} nats per token; expected less than {self.config.worst}"
        )

    def stages(self) -> Sequence[Stage]:
        c = self.config
        return [
            Stage(
                name="autoencoder",
                parameters=["tokens", "project", "decode"],
                loss=self.reconstruction,
                gate=self.gate,
                steps=c.steps,
                lr=c.lr,
                flops=3.0 * (self.project.flops(1) + self.decode.flops(1)) / self.ratio,
                identity={"lr": c.lr},
            )
        ]

    def cost(self, n: int) -> Cost:
        """`n` latents."""
        return Cost.dense(self.project.flops(n))
