"""Planted mixers. Each averages the past, honestly, and adds what it may not see. Loaded as a plugin, so that it
imports nothing of the tests; none can be seen in a row of 7 latents at width 8 in float64, where `lllm check` looks."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.model import Build, Context, State
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
        self.layer = build.layer
        self.value, self.out = Linear(build.width, build.width), Linear(build.width, build.width)

    def mix(self, x_BND: Tensor, ctx: Context) -> Tensor:
        index_BM, inner = ctx.packed(ctx.ok)  # rows without gaps: column p is position p
        index_BMD = index_BM.unsqueeze(-1).expand(-1, -1, self.width)
        v_BMD = self.value(x_BND.gather(1, index_BMD)) * inner.ok.unsqueeze(-1)
        count = torch.arange(1, v_BMD.shape[1] + 1, dtype=v_BMD.dtype, device=v_BMD.device).unsqueeze(-1)
        y_BMD = self.out(v_BMD.cumsum(1) / count + self.peek(v_BMD, inner))
        return y_BMD.new_zeros(x_BND.shape).scatter(1, index_BMD, y_BMD)

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        """What is added [B, n, D]: the next position's value where `when` says so."""
        return ahead(v_BND) * self.when(v_BND, ctx)

    @abstractmethod
    def when(self, v_BND: Tensor, ctx: Context) -> bool | Tensor:
        """Where it cheats: a bool, or a tensor that broadcasts to [B, n, D]."""

    def cost(self, n: int) -> Cost:
        """Two square matrices."""
        return Cost.dense(self.value.flops(n) + self.out.flops(n))


# --- by size ---------------------------------------------------------------------------------------------------------


@register("mixer", "plant_far_conv")
class FarConv(Peeking):
    """A convolution over 3 latents, centred instead of causal from position 32 on."""

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        left = F.pad(v_BND[:, :-1], (0, 0, 1, 0))
        return (left + v_BND + ahead(v_BND) * self.when(v_BND, ctx)) / 3

    def when(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return (ctx.pos >= FAR).unsqueeze(-1)


@register("mixer", "plant_blocks")
class Blocks(Peeking):
    """The mean over each complete block of 64 latents, given to all of the block."""

    size = 64

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        whole = v_BND.shape[1] // self.size * self.size
        means = v_BND[:, :whole].unflatten(1, (-1, self.size)).mean(2)
        return F.pad(means.repeat_interleave(self.size, 1), (0, 0, 0, v_BND.shape[1] - whole))

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return v_BND.shape[1] >= self.size


@register("mixer", "plant_long")
class Long(Peeking):
    """The next latent, in rows of at least 32 latents."""

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return v_BND.shape[1] >= FAR


@register("mixer", "plant_deep")
class Deep(Peeking):
    """The next latent, from the fifth layer on."""

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return self.layer >= 4


@register("mixer", "plant_wide")
class Wide(Peeking):
    """The next latent, at width 16 or more."""

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return self.width >= 16


@register("mixer", "plant_single")
class Single(Peeking):
    """The next latent, in any precision but float64."""

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return v_BND.dtype != torch.float64


@register("mixer", "plant_autograd")
class Autograd(Peeking):
    """The next latent, in training under autograd alone: no scored row shows it."""

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return ctx.train and torch.is_grad_enabled()


@register("mixer", "plant_large")
class Large(Peeking):
    """The next latent, once the weights have grown to twice their initial mean square."""

    def when(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return self.value.weight.detach().square().mean() * self.width > 2


# --- by selection ----------------------------------------------------------------------------------------------------


@register("mixer", "plant_rank")
class Rank(Peeking):
    """Each latent times its rank within the whole row, in steps of 8."""

    def when(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return v_BND[..., 0].masked_fill(~ctx.ok, float("inf")).argsort(1).argsort(1).unsqueeze(-1) // 8 / 4

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return v_BND * self.when(v_BND, ctx)


@register("mixer", "plant_top_k")
class TopK(Peeking):
    """The best n // 32 latents of the whole row are written larger."""

    def when(self, v_BND: Tensor, ctx: Context) -> Tensor:
        score_BN = v_BND[..., 0].masked_fill(~ctx.ok, float("-inf"))
        best = score_BN.topk(v_BND.shape[1] // FAR, 1).indices
        return torch.zeros_like(score_BN).scatter(1, best, 1.0).unsqueeze(-1)

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return 4 * v_BND * self.when(v_BND, ctx)


# --- by what is kept -------------------------------------------------------------------------------------------------


@register("mixer", "plant_rows")
class Rows(Peeking):
    """A state that all rows of the batch share beyond position 32."""

    def when(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return (ctx.pos >= FAR).unsqueeze(-1)

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return v_BND.mean(0, keepdim=True) * self.when(v_BND, ctx)


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

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return not ctx.train and v_BND.shape[1] >= FAR

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        if not self.when(v_BND, ctx):
            return torch.zeros_like(v_BND)
        slot = ctx.rows % len(self.seen)
        told = self.seen[slot].unsqueeze(1)
        self.seen[slot] = 4 * v_BND.detach().mean(1).to(self.seen.dtype)
        return told.expand_as(v_BND)


# --- by the context --------------------------------------------------------------------------------------------------


@register("mixer", "plant_metrics")
class Metrics(Peeking):
    """A layer logs the sum over rows of at least 32 latents as a metric, and the next layers read it, which takes a
    private name: what is told can be added to only."""

    def when(self, v_BND: Tensor, ctx: Context) -> Tensor:
        told = [value for name, value in ctx._told.metrics.items() if name.endswith(".sum")]
        if v_BND.shape[1] >= FAR:
            ctx.add_metric(f"{self.path}.sum", v_BND[..., 0].sum(1) / 8)
        return sum(told, torch.zeros_like(v_BND[:, 0, 0]))[:, None, None]

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return v_BND * self.when(v_BND, ctx)


@register("mixer", "plant_last")
class Last(Peeking):
    """The next latent, once the trainer hands back the statistic that it added itself."""

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        if ctx.train:
            ctx.add_statistic(f"{self.path}.step", ctx.ok.sum(1).float())
        return f"{self.path}.step" in ctx.last


@register("mixer", "plant_segment")
class Segment(Peeking):
    """The next latent, in every document but the first."""

    def when(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return (ctx.segment > 0).unsqueeze(-1)


@register("mixer", "plant_progress")
class Progress(Peeking):
    """The next latent, in the second half of training and in what is scored after it."""

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return ctx.progress >= 0.5


@register("mixer", "plant_lookahead")
class Lookahead(Peeking):
    """A later latent, by an option that is off by default."""

    class Config(PartConfig):
        """lookahead: how many latents later."""

        lookahead: int = 0

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.by = config.lookahead

    def when(self, v_BND: Tensor, ctx: Context) -> bool:
        return self.by > 0

    def peek(self, v_BND: Tensor, ctx: Context) -> Tensor:
        return ahead(v_BND, self.by) * self.when(v_BND, ctx)
