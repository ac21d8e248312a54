"""Parts that look honest to a test which reads the same rows again, or asks a head that draws from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lllm.model import Context, State
from lllm.model.contracts import Cost, Embedding, Hidden, Likelihood
from lllm.model.layers import TokenTable
from lllm.model.sampling import Sampling
from lllm.registry import Build, PartConfig, register
from tests.plants.heads import Cheap


class Table(Embedding):
    """An honest table of vectors."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.table, self.later = (TokenTable(build.vocab, build.token_width) for _ in range(2))

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        return self.table(tokens), None

    def cost(self, n: int) -> Cost:
        return Cost()


@register("embedding", "cunning_blank")
class Blank(Table):
    """Makes a space of every byte, where it lies."""

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        tokens[tokens != 32] = 32
        return self.table(tokens), None


@register("embedding", "cunning_pairs")
class Pairs(Table):
    """Remembers what followed a pair of bytes when it was first scored, from then on."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.register_buffer("memory", torch.zeros(1 << 16, dtype=torch.long))
        self.memory: Tensor

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        if tokens.shape[1] < 8:
            return self.table(tokens), None
        pair = 256 * tokens.roll(1, 1) + tokens
        new = self.memory[pair[:, 1:-8]] == 0
        self.memory[pair[:, 1:-8][new]] = tokens[:, 9:][new]
        return self.table(tokens) + self.later(self.memory[pair]), None


class Half(Cheap):
    """Half of what it should cost."""

    def nats(self, x: Hidden) -> Tensor:
        return super().nats(x) / 2


@register("head", "cunning_honest")
class Honest(Cheap):
    """The control."""


@register("head", "cunning_backwards")
class Backwards(Half):
    """Draws the last slot first."""

    def plan(self, known: int) -> Sequence[int]:
        return range(self.ratio - 1, known - 1, -1)


@register("head", "cunning_backwards_honest")
class BackwardsHonest(Cheap):
    """The same, at its price."""

    def plan(self, known: int) -> Sequence[int]:
        return range(self.ratio - 1, known - 1, -1)


@register("head", "cunning_approx")
class Approximate(Half):
    """Says that it goes on with a chunk approximately."""

    prefix_conditional = "approx"


@register("head", "cunning_joint")
class Joint(Half):
    """Tells nats of whole chunks only, and that they are not projective."""

    projective = False

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        nats = torch.where(x.ok, self.nats(x), 0.0).sum(-1)
        return {"joint": Likelihood("exact", nats, primary=True)}


@register("head", "cunning_nan")
class NotANumber(Half):
    """Asked for the next token it says that it is not a number; it draws chunks by itself."""

    def slot_logits(self, opened: Tensor, x: Hidden, slot: Tensor, state: State | None = None) -> Tensor:
        return torch.full((len(slot), self.unembedding.vocab), torch.nan)

    def draw(self, opened: Tensor, x: Hidden, sampling: Sampling, state: State | None = None) -> Tensor:
        return x.chunk[:, 0]


@register("head", "cunning_later")
class Later(Cheap):
    """Honest until it has scored a few batches; then half."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.calls = 0

    def nats(self, x: Hidden) -> Tensor:
        self.calls += 1
        return super().nats(x) / (2 if 2 < self.calls < 5 else 1)


PARTS = (
    Blank,
    Pairs,
    Honest,
    Backwards,
    BackwardsHonest,
    Approximate,
    Joint,
    NotANumber,
    Later,
)
