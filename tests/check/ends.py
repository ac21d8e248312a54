"""Legal toy parts before the trunk: visibility, embedding and downsamplers. They live here only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lllm.model import Build, Context, Noise, State
from lllm.model.contracts import Cost, Downsampler, Embedding, Encoded, Step, Visibility, WindowDownsampler
from lllm.model.layers import Linear, TokenTable
from lllm.registry import PartConfig, register
from tests.check.layers import ShiftState, before, between


@register("visibility", "toy_prefix")
class PrefixVisibility(Visibility):
    """The first M chunks see one another; targets after them carry loss."""

    noncausal_region = True

    def allow(self, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
        return (key <= query) | ((prefix > 0) & (query <= prefix) & (key <= prefix))

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        return chunk >= prefix

    def prefix_chunks(self, lengths: Tensor, ratio: int) -> Tensor:
        return lengths // ratio


@register("visibility", "toy_random_prefix")
class RandomPrefix(PrefixVisibility):
    """As `toy_prefix`; in training a row's prefix is of random length, at least what its data say."""

    def assign(self, prefix: Tensor, chunks: Tensor, rows: Tensor, noise: Noise) -> Tensor:
        drawn = noise.uniform("toy_random_prefix", rows)
        return torch.maximum(prefix, (drawn * chunks).long())


@register("embedding", "toy_bigram")
class BigramEmbedding(Embedding):
    """A vector of the token and one of the token before it, which is carried between calls."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.now, self.then = TokenTable(build.vocab, build.token_width), TokenTable(build.vocab, build.token_width)

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        then = self.then(tokens)
        first = state.last if isinstance(state, ShiftState) else torch.zeros_like(then[:, 0])
        shifted, last = before(then, ctx.ok, first)
        return self.now(tokens) + shifted, ShiftState(last)

    def cost(self, n: int) -> Cost:
        """Lookups contract nothing."""
        return Cost()


@register("downsampler", "toy_window")
class ToyWindow(WindowDownsampler):
    """A linear map of the chunk and the token before it."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.window = build.ratio + 1
        self.project = Linear(self.window * build.token_width, build.width)

    def encode(self, e_BNwd: Tensor) -> Tensor:
        latents: Tensor = self.project(e_BNwd.flatten(-2))
        return latents

    def cost(self, n: int) -> Cost:
        """One matrix."""
        return Cost.dense(self.project.flops(n))


@register("downsampler", "toy_tokens")
class TokenDownsampler(ToyWindow):
    """As `toy_window`, and it hands out token states that see no later token."""

    hands_tokens = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.inner = Linear(build.token_width, build.token_width)

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        encoded = super().forward(e_BTd, ctx)
        return Encoded(encoded.latents, encoded.ok, torch.tanh(self.inner(e_BTd)))

    def step(self, e_Bd: Tensor, ctx: Context, state: State) -> Step:
        made = super().step(e_Bd, ctx, state)
        return Step(made.latent, made.done, made.state, torch.tanh(self.inner(e_Bd)))

    def cost(self, n: int) -> Cost:
        """Both matrices."""
        return super().cost(n) + Cost.dense(self.inner.flops(n * self.ratio))


@register("downsampler", "toy_lending")
class LendingDownsampler(TokenDownsampler):
    """As `toy_tokens`, and it lends how sure it is of each token."""

    lends = ("sure",)

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.sure = Linear(build.token_width, 1)

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        return replace(super().forward(e_BTd, ctx), lent={"sure": torch.sigmoid(self.sure(e_BTd)).squeeze(-1)})

    def step(self, e_Bd: Tensor, ctx: Context, state: State) -> Step:
        return replace(super().step(e_Bd, ctx, state), lent={"sure": torch.sigmoid(self.sure(e_Bd)).squeeze(-1)})

    def cost(self, n: int) -> Cost:
        """Three matrices."""
        return super().cost(n) + Cost.dense(self.sure.flops(n * self.ratio))


@dataclass(frozen=True)
class SumState(State):
    """total [B, d], count [B]: of the open chunk."""

    total: Tensor
    count: Tensor


@register("downsampler", "toy_dynamic")
class DynamicDownsampler(Downsampler):
    """A learned number of latents: a token whose score exceeds the threshold ends its chunk, whose mean is the latent.

    Token t belongs to chunk (number of ends before t), a function of earlier tokens only.
    """

    hands_tokens = True
    dynamic = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.score, self.inner = Linear(build.token_width, 1), Linear(build.token_width, build.token_width)
        self.project = Linear(build.token_width, build.width)
        self.threshold: Tensor
        self.register_buffer("threshold", torch.zeros(()))

    def calibrate_(self, *inputs: Tensor) -> None:
        self.threshold.copy_(between(self.score(inputs[0])))

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        batch, length, width = e_BTd.shape
        ends = (self.score(e_BTd).squeeze(-1) > self.threshold) & ctx.ok
        owner = ends.long().cumsum(1) - ends.long()
        z_BTd = torch.tanh(self.inner(e_BTd))
        index = owner.unsqueeze(-1).expand(-1, -1, width)
        total = z_BTd.new_zeros(batch, length, width).scatter_add(1, index, z_BTd * ctx.ok.unsqueeze(-1))
        count = z_BTd.new_zeros(batch, length).scatter_add(1, owner, ctx.ok.to(z_BTd.dtype))
        latents = self.project(total / count.clamp(min=1).unsqueeze(-1))
        ok = torch.arange(length) < ends.sum(1, keepdim=True)
        return Encoded(latents, ok, z_BTd, owner)

    def start(self, batch: int, like: Tensor) -> SumState:
        return SumState(like.new_zeros(batch, self.token_width), like.new_zeros(batch))

    def resume(self, e_BTd: Tensor, lengths: Tensor, ctx: Context) -> State:
        state: State = self.start(len(e_BTd), e_BTd)
        for t in range(e_BTd.shape[1]):
            now = ctx.gather(torch.full((len(e_BTd), 1), t)).where(t < lengths[:, None])
            state = self.step(e_BTd[:, t], now, state).state
        return state

    def step(self, e_Bd: Tensor, ctx: Context, state: State) -> Step:
        assert isinstance(state, SumState)
        ok = ctx.ok[:, 0]
        z_Bd = torch.tanh(self.inner(e_Bd))
        total = state.total + z_Bd * ok.unsqueeze(-1)
        count = state.count + ok
        done = (self.score(e_Bd).squeeze(-1) > self.threshold) & ok
        latent = self.project(total / count.clamp(min=1).unsqueeze(-1))
        return Step(latent, done, SumState(total * ~done.unsqueeze(-1), count * ~done), z_Bd)

    def latents(self, tokens: int) -> int:
        """The parallel form keeps room for a latent per token."""
        return tokens

    def cost(self, n: int) -> Cost:
        """`n` tokens."""
        return Cost.dense(self.score.flops(n) + self.inner.flops(n) + self.project.flops(n))


@register("downsampler", "toy_dynamic_lending")
class DynamicLending(DynamicDownsampler):
    """As `toy_dynamic`, and it lends the probability that a chunk ends at each token (H-Net's p, arXiv:2507.07955)."""

    lends = ("sure",)

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        return replace(super().forward(e_BTd, ctx), lent={"sure": torch.sigmoid(self.score(e_BTd)).squeeze(-1)})

    def step(self, e_Bd: Tensor, ctx: Context, state: State) -> Step:
        return replace(super().step(e_Bd, ctx, state), lent={"sure": torch.sigmoid(self.score(e_Bd)).squeeze(-1)})

    def latents(self, tokens: int) -> int:
        """What it aims at."""
        return tokens // 2

    def cost(self, n: int) -> Cost:
        """The score is evaluated twice."""
        return super().cost(n) + Cost.dense(self.score.flops(n))
