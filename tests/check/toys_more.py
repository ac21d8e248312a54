"""Toys of the tests of likelihoods, training losses and costs: legal ones, and broken ones that must fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lllm.model import Context, State
from lllm.model.contracts import Cost, Hidden, Likelihood
from lllm.registry import register
from tests.check.heads import DiffusionHead, VarHead
from tests.check.layers import ShiftFFN

# --- legal -----------------------------------------------------------------------------------------------------------


@register("head", "toy_cheap")
class CheapHead(VarHead):
    """Trains one real slot of each chunk, drawn at random, for all of them: cheap and unbiased."""

    def train_loss(self, x: Hidden) -> Likelihood:
        slots = torch.stack([self.nats(x, k, seen) for k, seen in self.table()], -1)
        real = x.ok.sum(-1)
        drawn = x.ctx.noise.uniform("toy_cheap", x.ctx.rows, real.shape[1]).to(slots.dtype)
        picked = (drawn * real).long().clamp(max=self.ratio - 1)  # real slots are the chunk's first
        return Likelihood("exact", real * slots.gather(-1, picked.unsqueeze(-1)).squeeze(-1))


@register("head", "toy_masked")
class MaskedHead(DiffusionHead):
    """Trains the bound by one mask of each chunk, drawn as the bound weighs them."""

    def train_loss(self, x: Hidden) -> Likelihood:
        batch, n, _ = x.ok.shape
        drawn = x.ctx.noise.uniform("toy_masked", x.ctx.rows, n, self.ratio + 1).to(x.hidden.dtype)
        real = x.ok.sum(-1)
        shown = (drawn[..., 0] * real).long()  # so many of the real slots, the first of a random order
        order = torch.where(x.ok, drawn[..., 1:], 2.0).argsort(-1).argsort(-1)
        seen = order < shown.unsqueeze(-1)
        nats = torch.zeros(batch, n, dtype=x.hidden.dtype)
        for k, known in self.table():
            here = (seen == torch.tensor([slot in known for slot in range(self.ratio)])).all(-1)
            nats = nats + torch.where(here, self.nats(x, k, known) * real / (real - shown).clamp(min=1), 0.0)
        return Likelihood("bound", nats)


# --- broken ----------------------------------------------------------------------------------------------------------


@register("head", "bad_climbs")
class Climbs(VarHead):
    """Descends the likelihood instead of the nats."""

    def train_loss(self, x: Hidden) -> Likelihood:
        made = super().train_loss(x)
        return Likelihood("exact", -made.nats)


@register("head", "bad_climbs_bound")
class ClimbsByBound(Climbs):
    """The same, called a bound."""

    def train_loss(self, x: Hidden) -> Likelihood:
        return replace(super().train_loss(x), kind="bound")


@register("head", "bad_first_slot")
class FirstSlotOnly(VarHead):
    """Trains slot 0 and no other."""

    def train_loss(self, x: Hidden) -> Likelihood:
        slots = super().train_loss(x).slots
        assert slots is not None
        first = slots * (torch.arange(self.ratio) == 0)
        return Likelihood("bound", first.sum(-1), first)


@register("head", "bad_scores")
class ScoresOtherwise(VarHead):
    """Honest conditionals; its 'exact' nats let slot 3 read slot 2, of its own scale. Still a distribution."""

    projective = False

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = [self.nats(x, k, seen | {2} if k == 3 else seen) for k, seen in self.table()]
        stacked = torch.stack(slots, -1)
        return {"scales": Likelihood("exact", stacked.sum(-1), stacked, primary=True)}


@register("head", "bad_trades")
class Trades(VarHead):
    """Moves half a thousandth of a nat from slot 1 to slot 0: less than a probe can tell from rounding."""

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        (made,) = super().likelihoods(x).values()
        assert made.slots is not None
        moved = torch.tensor([5e-4, -5e-4] + [0.0] * (self.ratio - 2), dtype=made.slots.dtype)
        return {"scales": replace(made, slots=made.slots + moved * x.ok.all(-1, keepdim=True))}


@register("head", "bad_later_chunk")
class LaterChunk(VarHead):
    """A bound whose slack depends on the next chunk's tokens; the conditionals know nothing of it."""

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        (made,) = super().likelihoods(x).values()
        later: Tensor = (x.chunk * x.ok).to(made.nats.dtype).sum(-1)
        later = torch.cat([later[:, 1:], 0 * later[:, :1]], 1)
        return {"bound": Likelihood("bound", (made.nats + 0.01 * later) * x.ok.any(-1), primary=True)}


@register("ffn", "bad_gift")
class Gift(ShiftFFN):
    """Executes what it does and calls it less than nothing."""

    def cost(self, n: int) -> Cost:
        return Cost(-(10**9), super().cost(n).executed)


@register("ffn", "bad_discount")
class Discount(ShiftFFN):
    """Halves its own FLOPs as if positions met in it."""

    def cost(self, n: int) -> Cost:
        cost = super().cost(n)
        return Cost(cost.executed * (n + 1) // (2 * n), cost.executed)


@register("ffn", "bad_random")
class Random(ShiftFFN):
    """Is never twice the same, in evaluation either."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        y, after = super().forward(x_BND, ctx, state)
        return y + 1e-3 * torch.randn_like(y), after
