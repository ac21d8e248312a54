"""Planted mixers. Each averages the past, honestly, and adds what it may not see. Loaded as a plugin, so it imports
nothing of the tests; hardly any shows in a row of 13 latents at width 8 in float64, where `lllm check` looks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.model import Build, Context, Role, State, parameter
from lllm.model.contracts import Cost, Mixer, ParallelMixer
from lllm.model.layers import Linear
from lllm.registry import PartConfig, register

FAR = 32  # latents: where the short rows of a test end


def ahead(v_BND: Tensor, by: int = 1) -> Tensor:
    """At each position the value `by` positions later, 0 behind the row's end."""
    return F.pad(v_BND[:, by:], (0, 0, 0, min(by, v_BND.shape[1])))


class Peeking(ParallelMixer):
    """y = out(mean of the values so far + peek). Its carried state is recomputation: what is not there yet is not seen,
    so every position is cached as a cheater must cache it."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.value, self.out = Linear(build.width, build.width), Linear(build.width, build.width)

    def mix(self, x_BND: Tensor, ctx: Context) -> Tensor:
        index_BM, inner = ctx.packed(ctx.ok)  # rows without gaps: column p is position p
        index_BMD = index_BM.unsqueeze(-1).expand(-1, -1, self.width)
        v_BMD = self.value(x_BND.gather(1, index_BMD)) * inner.ok.unsqueeze(-1)
        count = torch.arange(1, v_BMD.shape[1] + 1, dtype=v_BMD.dtype, device=v_BMD.device).unsqueeze(-1)
        y_BMD = self.out(v_BMD.cumsum(1) / count + self.peek(v_BMD, inner))
        return y_BMD.new_zeros(x_BND.shape).scatter(1, index_BMD, y_BMD)

    @abstractmethod
    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        """What is added [B, n, D], given the values at positions 0..n-1."""

    def cost(self, n: int) -> Cost:
        """Two square matrices."""
        return Cost.dense(self.value.flops(n) + self.out.flops(n))


# --- by size ---------------------------------------------------------------------------------------------------------


@register("mixer", "plant_far_conv")
class FarConv(Peeking):
    """A convolution over 3 latents, centred instead of causal from position 32 on."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        left = F.pad(v_BND[:, :-1], (0, 0, 1, 0))
        return (left + v_BND + ahead(v_BND) * (ctx.pos >= FAR).unsqueeze(-1)) / 3


@register("mixer", "plant_blocks")
class Blocks(Peeking):
    """The mean over each complete block of 64 latents, given to all of the block."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        whole = v_BND.shape[1] // 64 * 64
        means = v_BND[:, :whole].unflatten(1, (-1, 64)).mean(2)
        return F.pad(means.repeat_interleave(64, 1), (0, 0, 0, v_BND.shape[1] - whole))


@register("mixer", "plant_long")
class Long(Peeking):
    """The next latent, in rows of at least 32 latents."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * (v_BND.shape[1] >= FAR)


@register("mixer", "plant_deep")
class Deep(Peeking):
    """The next latent, from the fifth layer on."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.layer = build.layer

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * (self.layer >= 4)


@register("mixer", "plant_wide")
class Wide(Peeking):
    """The next latent, at width 16 or more."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * (self.width >= 16)


@register("mixer", "plant_single")
class Single(Peeking):
    """The next latent, in any precision but float64."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * (v_BND.dtype != torch.float64)


@register("mixer", "plant_autograd")
class Autograd(Peeking):
    """The next latent, in training under autograd alone: no scored row shows it."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * (ctx.train and torch.is_grad_enabled())


@register("mixer", "plant_large")
class Large(Peeking):
    """The next latent, while a gain that begins at 2 is large; where a suite draws all weights around 0 it is not."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.gain = parameter(build.width, role=Role("vector", fill=2.0, decay=False))

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * self.gain * (self.gain.detach().mean() > 1.5)


# --- by selection ----------------------------------------------------------------------------------------------------


@register("mixer", "plant_rank")
class Rank(Peeking):
    """Each latent times its rank within the whole row, in steps of 16."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        rank_BN = v_BND[..., 0].masked_fill(~ctx.ok, float("inf")).argsort(1).argsort(1)
        return v_BND * (rank_BN.unsqueeze(-1) // 16) / 2


@register("mixer", "plant_top_k")
class TopK(Peeking):
    """The best n // 32 latents of the whole row are written larger."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        score_BN = v_BND[..., 0].masked_fill(~ctx.ok, float("-inf"))
        best = score_BN.topk(v_BND.shape[1] // FAR, 1).indices
        return v_BND * torch.zeros_like(score_BN).scatter(1, best, 4.0).unsqueeze(-1)


# --- by what is kept -------------------------------------------------------------------------------------------------


@register("mixer", "plant_rows")
class Rows(Peeking):
    """A state that all rows of the batch share beyond position 32."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return v_BND.mean(0, keepdim=True) * (ctx.pos >= FAR).unsqueeze(-1)


@register("mixer", "plant_ring")
class Ring(Mixer):
    """Full attention over whole rows, beside a cache that keeps the newest 32 latents: another model generates."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.attention: Mixer = build.part("mixer", "attention")

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        y_BND, held = self.attention(x_BND, ctx, state)
        cache: Any = held
        newest = cache.ok.int().argsort(dim=1, stable=True)[:, -FAR:]  # valid ones last, in order

        def kept(heads: Tensor) -> Tensor:
            return heads.gather(2, newest[:, None, :, None].expand(-1, heads.shape[1], -1, heads.shape[3]))

        pos, ok = cache.pos.gather(1, newest), cache.ok.gather(1, newest)
        return y_BND, replace(cache, k=kept(cache.k), v=kept(cache.v), pos=pos, ok=ok)

    def cost(self, n: int) -> Cost:
        """The attention's."""
        return self.attention.cost(n)


@register("mixer", "plant_memory")
class Memory(Peeking):
    """A buffer remembers the mean of each evaluated row of at least 32 latents, for the row's next evaluation."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(64, build.width))

    def fill_buffers_(self) -> None:
        self.seen.zero_()

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        if ctx.train or v_BND.shape[1] < FAR:
            return torch.zeros_like(v_BND)
        slot = ctx.rows % len(self.seen)
        told = self.seen[slot].unsqueeze(1)
        self.seen[slot] = 4 * v_BND.detach().mean(1).to(self.seen.dtype)
        return told.expand_as(v_BND)


# --- by the context --------------------------------------------------------------------------------------------------


@register("mixer", "plant_metrics")
class Metrics(Peeking):
    """A layer logs the sum over rows of at least 32 latents as a metric, and the next layers read it, which takes a
    private name."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        told = [value for name, value in ctx._told.metrics.items() if name.endswith(".sum")]
        if v_BND.shape[1] >= FAR:
            ctx.add_metric(f"{self.path}.sum", v_BND[..., 0].sum(1) / 8)
        return v_BND * sum(told, torch.zeros_like(v_BND[:, 0, 0]))[:, None, None]


@register("mixer", "plant_last")
class Last(Peeking):
    """The next latent, once the trainer hands back the statistic that it added itself."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        if ctx.train:
            ctx.add_statistic(f"{self.path}.length", ctx.ok.sum(1).float())
        return ahead(v_BND) * (f"{self.path}.length" in ctx.last)


@register("mixer", "plant_segment")
class Segment(Peeking):
    """The next latent, in every document but the first."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * (ctx.segment > 0).unsqueeze(-1)


@register("mixer", "plant_progress")
class Progress(Peeking):
    """The next latent, in the second half of training and in what is scored after it."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND) * (ctx.progress >= 0.5)


@register("mixer", "plant_lookahead")
class Lookahead(Peeking):
    """A later latent, by an option that is off by default."""

    class Config(PartConfig):
        """lookahead: how many latents later."""

        lookahead: int = 0

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.by = config.lookahead

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND, self.by) * (self.by > 0)
