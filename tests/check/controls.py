"""Broken toy parts: every leak and cache bug that the suite must see. They live here only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lllm.model import Context, State
from lllm.model.contracts import Cost, Encoded, Hidden, Likelihood, TrunkState
from lllm.model.stack import run_layers
from lllm.registry import register
from tests.check.ends import BigramEmbedding, LendingDownsampler, PrefixVisibility, TokenDownsampler, ToyWindow
from tests.check.heads import DiffusionHead, VarHead
from tests.check.layers import DecayMixer, DecayState, OnlyParallelMixer, ShiftFFN, ThresholdBlock, TopKBlock, top_half
from tests.check.stacks import CachingTrunk, GatherBlock

# --- embeddings and downsamplers -------------------------------------------------------------------------------------


@register("embedding", "bad_ahead")
class LooksAhead(BigramEmbedding):
    """Adds a vector of the next token instead."""

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        e_BTd, after = super().forward(tokens.flip(1), replace(ctx, ok=ctx.ok.flip(1)), state)
        return e_BTd.flip(1), after


@register("embedding", "bad_forgets")
class Forgets(BigramEmbedding):
    """Carries no state."""

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        return super().forward(tokens, ctx)


@register("downsampler", "bad_no_shift")
class NoShift(ToyWindow):
    """Hands latent i + 1 as latent i: the shift is undone."""

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        encoded = super().forward(e_BTd, ctx)
        return replace(encoded, latents=torch.cat([encoded.latents[:, 1:], encoded.latents[:, :1]], 1))


@register("downsampler", "bad_shifted_twice")
class ShiftedTwice(ToyWindow):
    """Hands latent i - 1 as latent i, in the parallel form."""

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        encoded = super().forward(e_BTd, ctx)
        return replace(encoded, latents=torch.cat([0 * encoded.latents[:, :1], encoded.latents[:, :-1]], 1))


@register("downsampler", "bad_symmetric")
class Symmetric(ToyWindow):
    """A convolution padded on both sides, as nn.Conv1d(padding=...) does: it sees the next chunk's beginning."""

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        ahead = torch.cat([e_BTd[:, 1:], torch.zeros_like(e_BTd[:, :1])], 1)
        return replace(super().forward(e_BTd, ctx), latents=super().forward(ahead, ctx).latents)


@register("downsampler", "bad_tokens_ahead")
class TokensAhead(TokenDownsampler):
    """Token states that see the next token, beside a skip to a token-level head."""

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        ahead = torch.cat([e_BTd[:, 1:], torch.zeros_like(e_BTd[:, :1])], 1)
        return replace(super().forward(e_BTd, ctx), tokens=torch.tanh(self.inner(e_BTd + ahead)))


@register("downsampler", "bad_any_valid")
class AnyValid(ToyWindow):
    """Counts a latent valid when any of its slots is: a prompt's partial chunk is read twice."""

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        encoded = super().forward(e_BTd, ctx)
        return replace(encoded, ok=ctx.ok.view(len(e_BTd), -1, self.ratio).any(-1))


# --- inside the layers -----------------------------------------------------------------------------------------------


@register("block", "bad_top_k")
class TopKAtEvaluation(ThresholdBlock):
    """Selects the better half of each row at evaluation, too."""

    def chosen(self, score_BN: Tensor, ctx: Context) -> Tensor:
        return top_half(score_BN, ctx.ok)


@register("block", "bad_undeclared_top_k")
class UndeclaredTopK(TopKBlock):
    """Trains by top-k and does not say so."""

    training_leaks = False


@register("ffn", "bad_length")
class Peeking(ShiftFFN):
    """Scales by how long the row is."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        y, after = super().forward(x_BND, ctx, state)
        return y * ctx.ok.sum(1)[:, None, None], after


@register("ffn", "bad_undeclared_shift")
class UndeclaredShift(ShiftFFN):
    """Reads the position before and does not say so."""

    token_shift = False


@register("mixer", "bad_pads")
class CachesPads(OnlyParallelMixer):
    """Keeps invalid positions among those that it reads."""

    def mix(self, x_BND: Tensor, ctx: Context) -> Tensor:
        return super().mix(x_BND, replace(ctx, ok=torch.ones_like(ctx.ok)))


@register("mixer", "bad_updates")
class InvalidUpdates(DecayMixer):
    """Lets invalid positions change its state."""

    def updated(self, s: Tensor, k: Tensor, v: Tensor, ok: Tensor) -> Tensor:
        return super().updated(s, k, v, torch.ones_like(ok))


@register("mixer", "bad_positions")
class LocalPositions(DecayMixer):
    """Counts positions from the beginning of each call."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(x_BND * (1 + torch.arange(x_BND.shape[1])[:, None]), ctx, state)


@register("mixer", "bad_in_place")
class InPlace(DecayMixer):
    """Writes into the state that it was given."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        y, after = super().forward(x_BND, ctx, state)
        if isinstance(state, DecayState) and isinstance(after, DecayState):
            state.s.copy_(after.s)
            return y, state
        return y, after


@register("mixer", "bad_cost")
class Undercounted(DecayMixer):
    """Forgets its projections."""

    def cost(self, n: int):  # noqa: ANN201 - as its base
        cost = super().cost(n)
        return replace(cost, executed=cost.executed // 2, flops=cost.flops // 2)


@register("ffn", "bad_noise")
class GlobalNoise(ShiftFFN):
    """Draws noise from torch's global generator."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        y, after = super().forward(x_BND, ctx, state)
        return (y + torch.randn_like(y) if ctx.train else y), after


# --- visibilities and heads ------------------------------------------------------------------------------------------


@register("visibility", "bad_loss_inside")
class LossInside(PrefixVisibility):
    """Scores targets that see one another."""

    def loss(self, chunk: Tensor, prefix: Tensor) -> Tensor:
        return (chunk >= 0) & (prefix >= 0)


@register("visibility", "bad_off_by_one")
class OffByOne(PrefixVisibility):
    """Takes position p to hold chunk p: the prefix reaches one chunk too far."""

    def allow(self, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
        return super().allow(query, key, prefix + (prefix > 0))


@register("head", "bad_own_token")
class OwnToken(DiffusionHead):
    """The denoiser is shown the token that it predicts."""

    def shown(self, k: int, seen: frozenset[int]) -> frozenset[int]:
        return seen | {k}


@register("head", "bad_own_scale")
class OwnScale(VarHead):
    """Slot 3 reads slot 2, of its own scale: still a distribution, not the one that it declares."""

    def shown(self, k: int, seen: frozenset[int]) -> frozenset[int]:
        return seen | {2} if k == 3 else seen


@register("head", "bad_pseudo")
class PseudoLikelihood(DiffusionHead):
    """Each slot given all others, called exact."""

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        every = frozenset(range(self.ratio))
        slots = torch.stack([self.nats(x, k, every - {k}) for k in range(self.ratio)], -1)
        return {"pseudo": Likelihood("exact", slots.sum(-1), slots, primary=True)}


@register("trunk", "bad_leaves")
class LeavesAnyway(CachingTrunk):
    """Leaves early whatever stands above the cache."""

    def finish(self, x_BND: Tensor, ctx: Context, state: State | None) -> tuple[Tensor, TrunkState]:
        if ctx.wanted is None:
            return run_layers(self.above, x_BND, ctx, state)
        y_BND, after = run_layers(self.above, x_BND, ctx.where(ctx.wanted), state)
        return torch.where(ctx.wanted.unsqueeze(-1), y_BND, x_BND), after


@register("mixer", "bad_position_wise")
class CallsItselfPositionWise(DecayMixer):
    """A recurrence that declares itself position-wise."""

    position_wise = True


@register("block", "bad_uncounted")
class Uncounted(GatherBlock):
    """Gathers, and is planned and counted as if everything ran."""

    def spent(self, counts: dict[str, float]) -> Cost:  # type: ignore[override]
        return Cost()


@register("downsampler", "bad_lends_ahead")
class LendsAhead(LendingDownsampler):
    """Says of each token what it thinks of the next one."""

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        made = super().forward(e_BTd, ctx)
        return replace(made, lent={"sure": made.lent["sure"].roll(-1, 1)})
