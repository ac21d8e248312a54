"""Legal toy parts that run inside a layer, one for each freedom that the contracts promise. They live here only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lllm.model import Build, Context, State
from lllm.model.contracts import FFN, Block, BlockState, Cost, Mixer, ParallelMixer, Trunk
from lllm.model.layers import Linear, RMSNorm
from lllm.model.stack import run_layers
from lllm.registry import PartConfig, register


@dataclass(frozen=True)
class DecayState(State):
    """s [B, D, D]: the matrix state."""

    s: Tensor


@register("mixer", "toy_decay")
class DecayMixer(Mixer):
    """Recurrent: S = a S + k v^T over valid positions, y = q S. An invalid position leaves S as it was."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.qkv = Linear(build.width, 3 * build.width)
        self.out = Linear(build.width, build.width)

    def updated(self, s: Tensor, k: Tensor, v: Tensor, ok: Tensor) -> Tensor:
        """The state after one position."""
        new = 0.8 * s + k.unsqueeze(-1) * v.unsqueeze(-2)
        return torch.where(ok[:, None, None], new, s)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        q, k, v = self.qkv(x_BND).chunk(3, -1)
        s = state.s if isinstance(state, DecayState) else x_BND.new_zeros(len(x_BND), self.width, self.width)
        outputs = []
        for t in range(x_BND.shape[1]):
            s = self.updated(s, k[:, t], v[:, t], ctx.ok[:, t])
            outputs.append((q[:, t].unsqueeze(1) @ s).squeeze(1))
        return self.out(torch.stack(outputs, 1)), DecayState(s)

    def cost(self, n: int) -> Cost:
        """Projections and the read-out; the update is elementwise."""
        return Cost.dense(self.qkv.flops(n) + self.out.flops(n) + 2 * n * self.width**2)


@register("mixer", "toy_parallel")
class OnlyParallelMixer(ParallelMixer):
    """Gives nothing but its parallel form: attention by distance, without a softmax. It counts no FLOPs itself."""

    honours_visibility = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.q, self.v = Linear(build.width, build.width), Linear(build.width, build.width)

    def mix(self, x_BND: Tensor, ctx: Context) -> Tensor:
        query, key = ctx.pos[:, :, None], ctx.pos[:, None, :]
        seen = ctx.visibility.allow(query, key, ctx.prefix[:, None, None]) & ctx.ok[:, None, :]
        weight = torch.where(seen, 0.7 ** (query - key).abs().to(x_BND.dtype), 0.0)
        return torch.sigmoid(self.q(x_BND)) * (weight @ self.v(x_BND))


@register("mixer", "toy_reader")
class MemoryReader(DecayMixer):
    """Recurrent over what the trunk lends instead of its own input."""

    reads = ("early",)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        return super().forward(x_BND + ctx.memory["early"], ctx, state)


@register("mixer", "toy_parallel_reader")
class ParallelReader(OnlyParallelMixer):
    """As `toy_parallel`, over what the trunk lends; it carries that beside its inputs."""

    reads = ("early",)

    def mix(self, x_BND: Tensor, ctx: Context) -> Tensor:
        return super().mix(x_BND + ctx.memory["early"], ctx)


@register("trunk", "toy_lender")
class LendingTrunk(Trunk):
    """One layer of the composition's mixer, whose output it lends to a second layer that reads it."""

    lends = ("early",)

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.early = build.at_layer(0, 2).using("mixer", "toy_decay").part("block")
        self.late = build.at_layer(1, 2).part("block")

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        return run_layers([self.early, _Lending(self.late)], x_BND, ctx, state)

    def cost(self, n: int) -> Cost:
        """Both layers."""
        cost: Cost = self.early.cost(n) + self.late.cost(n)
        return cost


class _Lending:
    """A layer that finds its own input in ctx.memory."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, x_BND: Tensor, ctx: Context, state: State | None) -> tuple[Tensor, State]:
        made: tuple[Tensor, State] = self.layer(x_BND, replace(ctx, memory={"early": x_BND}), state)
        return made


@dataclass(frozen=True)
class ShiftState(State):
    """last [B, D]: the newest valid input."""

    last: Tensor


def before(x_BND: Tensor, ok: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """The newest valid input before each position [B, n, D], `first` [B, D] where there is none; and after all."""
    batch, n, width = x_BND.shape
    index = torch.where(ok, torch.arange(1, n + 1), 0).cummax(1).values
    held = torch.cat([first.unsqueeze(1), x_BND], 1)
    index = torch.cat([index.new_zeros(batch, 1), index], 1)
    newest = held.gather(1, index.unsqueeze(-1).expand(-1, -1, width))
    return newest[:, :-1], newest[:, -1]


@register("ffn", "toy_shift")
class ShiftFFN(FFN):
    """Reads the position before, and so carries a state."""

    token_shift = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.now, self.then = Linear(build.width, build.width), Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        first = state.last if isinstance(state, ShiftState) else torch.zeros_like(x_BND[:, 0])
        shifted, last = before(x_BND, ctx.ok, first)
        return torch.tanh(self.now(x_BND)) * self.then(shifted), ShiftState(last)

    def cost(self, n: int) -> Cost:
        """Two square matrices."""
        return Cost.dense(self.now.flops(n) + self.then.flops(n))


@register("ffn", "toy_noisy")
class NoisyFFN(FFN):
    """In-model noise, an auxiliary loss, and a batch statistic whose last global value steers it."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.layer = build.layer
        self.into = Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        y = self.into(x_BND)
        name = f"toy_noisy.{self.layer}"
        if ctx.train:
            drawn = ctx.noise.normal(name, ctx.rows, *y.shape[1:]).to(y.dtype)
            y = y + 0.1 * drawn * ctx.last.get(name, 1.0)
            size = (y.square().mean(-1) * ctx.ok).sum(1) / ctx.ok.sum(1)
            ctx.add_aux(name, size)
            ctx.add_statistic(name, size)
            ctx.add_metric(name, size.mean())
        return torch.tanh(y), None

    def cost(self, n: int) -> Cost:
        """One square matrix."""
        return Cost.dense(self.into.flops(n))


def between(scores: Tensor) -> Tensor:
    """A threshold strictly between observed values, in the widest gap of their middle half: equal inputs differ by
    round-off between rows, and must not fall on both sides of it."""
    ordered = scores.flatten().sort().values
    middle = ordered[len(ordered) // 4 : -(len(ordered) // 4)]
    widest = middle.diff().argmax()
    return (middle[widest] + middle[widest + 1]) / 2


@register("block", "toy_threshold")
class ThresholdBlock(Block):
    """Runs only the positions whose score exceeds a threshold: causal, because the threshold is fixed beforehand."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.norm, self.score = RMSNorm(build.width), Linear(build.width, 1)
        self.mixer: Mixer = build.part("mixer")
        self.ffn: FFN = build.part("ffn")
        self.threshold: Tensor
        self.register_buffer("threshold", torch.zeros(()))

    def calibrate_(self, *inputs: Tensor) -> None:
        self.threshold.copy_(between(self.score(self.norm(inputs[0]))))

    def chosen(self, score_BN: Tensor, ctx: Context) -> Tensor:
        """Which positions run [B, n]."""
        return score_BN > self.threshold

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        carried = state if isinstance(state, BlockState) else BlockState(None)
        normed = self.norm(x_BND)
        score_BN = self.score(normed).squeeze(-1)
        keep = self.chosen(score_BN, ctx)
        inner = ctx.where(keep)
        mixed, mixer = self.mixer(normed, inner, carried.mixer)
        fed, ffn = self.ffn(normed + mixed, inner, carried.ffn)
        update = torch.where(keep.unsqueeze(-1), torch.sigmoid(score_BN).unsqueeze(-1) * (mixed + fed), 0.0)
        return x_BND + update, BlockState(mixer, ffn)

    def cost(self, n: int) -> Cost:
        """As much as if every position ran; a part that gathers its positions would count their share."""
        return self.mixer.cost(n) + self.ffn.cost(n) + Cost.dense(self.score.flops(n))


def top_half(score_BN: Tensor, ok: Tensor) -> Tensor:
    """The better half of each row's valid positions: they compete with later ones."""
    rank = score_BN.masked_fill(~ok, float("-inf")).argsort(1, descending=True).argsort(1)
    return (rank < (ok.sum(1, keepdim=True) + 1) // 2) & ok


@register("block", "toy_top_k")
class TopKBlock(ThresholdBlock):
    """Trains with the better half of each row, which looks ahead, and declares it; evaluates by the threshold."""

    training_leaks = True

    def chosen(self, score_BN: Tensor, ctx: Context) -> Tensor:
        return top_half(score_BN, ctx.ok) if ctx.train else super().chosen(score_BN, ctx)


@register("block", "toy_sharing")
class SharingBlock(Block):
    """Its own mixer, and one ffn for all layers, which the trunk registers."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.norm_mixer, self.norm_ffn = RMSNorm(build.width), RMSNorm(build.width)
        self.mixer: Mixer = build.part("mixer")
        self._ffn = (build.share("ffn", lambda: build.part("ffn")),)  # in a tuple: not a submodule of this block

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        carried = state if isinstance(state, BlockState) else BlockState(None)
        y_BND, mixer = self.mixer(self.norm_mixer(x_BND), ctx, carried.mixer)
        x_BND = x_BND + y_BND
        y_BND, ffn = self._ffn[0](self.norm_ffn(x_BND), ctx, carried.ffn)
        return x_BND + y_BND, BlockState(mixer, ffn)

    def cost(self, n: int) -> Cost:
        """The ffn is executed in every layer, though it is one object."""
        shared: FFN = self._ffn[0]  # type: ignore[assignment]
        return self.mixer.cost(n) + shared.cost(n)


@register("trunk", "toy_sharing")
class SharingTrunk(Trunk):
    """Three layers and the objects that they share, registered once."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.layers = nn.ModuleList(build.at_layer(i, 3).part("block") for i in range(3))
        self.shared = nn.ModuleDict(build.shared)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        return run_layers(self.layers, x_BND, ctx, state)

    def cost(self, n: int) -> Cost:
        """The sum of the executed layers."""
        return sum((layer.cost(n) for layer in self.layers), Cost())  # type: ignore[operator]
