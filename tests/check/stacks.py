"""Legal toy trunks, and what runs in them: a cache lent to layers above it, repeated layers, a trunk around a trunk, a
block that gathers, documents, and an operation that torch does not know. They live here only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor, nn

from lllm.model import Build, Context, State
from lllm.model.contracts import FFN, BlockState, Cost, Mixer, Trunk, TrunkState
from lllm.model.layers import Linear
from lllm.model.stack import run_layers, run_wanted, total_cost
from lllm.registry import Names, Node, PartConfig, register
from tests.check.layers import ThresholdBlock


@dataclass(frozen=True)
class CacheState(State):
    """Keys and values [B, m, D] of a row so far, with the position and validity of each [B, m]."""

    k: Tensor
    v: Tensor
    pos: Tensor
    ok: Tensor


@register("mixer", "toy_cross")
class CrossMixer(Mixer):
    """Reads a cache that the trunk keeps: its output depends on its own position's input and on the cache alone."""

    reads = ("cache",)
    honours_visibility = True
    position_wise = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.q = Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        cache = ctx.memory["cache"]
        assert isinstance(cache, CacheState)
        seen = ctx.visibility.allow(ctx.pos[:, :, None], cache.pos[:, None, :], ctx.prefix[:, None, None])
        score = torch.sigmoid(self.q(x_BND) @ cache.k.transpose(1, 2))
        return (score * (seen & cache.ok[:, None, :])) @ cache.v, State()

    def cost(self, n: int) -> Cost:
        """The query, and 4 width per visible pair; the reference visits all."""
        return Cost.dense(self.q.flops(n)) + Cost(2 * self.width * n * (n + 1), 4 * self.width * n * n)


@register("trunk", "toy_yoco")
class CachingTrunk(Trunk):
    """One layer that sees the past, a cache of what leaves it, and two layers of the composition's mixer above, which
    read the cache; of those only the wanted positions run, where that is exact (arXiv:2405.05254)."""

    lends = ("cache",)

    class Config(PartConfig):
        """below: the mixer under the cache."""

        below: Annotated[Node, Names("mixer")] = "toy_decay"

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.below = nn.ModuleList([build.at_layer(0, 3).using("mixer", config.below).part("block")])
        self.kv = Linear(build.width, 2 * build.width)
        self.above = nn.ModuleList(build.at_layer(i, 3).part("block") for i in (1, 2))

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        carried = state if isinstance(state, TrunkState) else None
        below = above = None
        if carried is not None:
            below, above = TrunkState(carried.layers[:1]), TrunkState(carried.layers[1:])
        x_BND, below = run_layers(self.below, x_BND, ctx, below)
        cache = CacheState(*self.kv(x_BND).chunk(2, -1), ctx.pos, ctx.ok)
        if carried is not None and isinstance(carried.shared, CacheState):
            old = carried.shared
            pairs = zip((old.k, old.v, old.pos, old.ok), (cache.k, cache.v, cache.pos, cache.ok), strict=True)
            cache = CacheState(*(torch.cat(pair, 1) for pair in pairs))
        x_BND, above = self.finish(x_BND, replace(ctx, memory={**ctx.memory, "cache": cache}), above)
        return x_BND, TrunkState(below.layers + above.layers, cache)

    def finish(self, x_BND: Tensor, ctx: Context, state: State | None) -> tuple[Tensor, TrunkState]:
        """The layers above the cache."""
        return run_wanted(self.above, x_BND, ctx, state)

    def cost(self, n: int) -> Cost:
        """The layers, and the cache once."""
        return total_cost(self.below, n) + Cost.dense(self.kv.flops(n)) + total_cost(self.above, n)


@register("trunk", "toy_repeated")
class RepeatedTrunk(Trunk):
    """Two layers, each executed twice in turn: four executed layers, four states, two sets of weights."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.layers = nn.ModuleList(build.at_layer(i, 4, uniques=2).part("block") for i in range(2))

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        return run_layers([*self.layers, *self.layers], x_BND, ctx, state)

    def cost(self, n: int) -> Cost:
        """Every layer counts as often as it runs."""
        return total_cost(self.layers, n) + total_cost(self.layers, n)


@dataclass(frozen=True)
class WrappedState(State):
    """inner: of the trunk inside; total [B, D], count [B]: of the valid inputs so far."""

    inner: State
    total: Tensor
    count: Tensor


@register("trunk", "toy_wrapping")
class WrappingTrunk(Trunk):
    """Another trunk, given the running mean of the row beside each latent: a compression of the past."""

    class Config(PartConfig):
        """inner: the trunk inside."""

        inner: Annotated[Node, Names("trunk")] = "uniform"

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.mean = Linear(build.width, build.width)
        self.inner: Trunk = build.part("trunk", config.inner)
        self.lends = self.inner.lends

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        held = state if isinstance(state, WrappedState) else None
        total, count = x_BND.new_zeros(len(x_BND), self.width), x_BND.new_zeros(len(x_BND))
        if held is not None:
            total, count = held.total, held.count
        sums = total[:, None] + (x_BND * ctx.ok.unsqueeze(-1)).cumsum(1)
        counts = count[:, None] + ctx.ok.to(x_BND.dtype).cumsum(1)
        x_BND = x_BND + self.mean(sums / counts.clamp(min=1).unsqueeze(-1))
        y_BND, inner = self.inner(x_BND, ctx, None if held is None else held.inner)
        return y_BND, WrappedState(inner, sums[:, -1], counts[:, -1])

    def cost(self, n: int) -> Cost:
        """One matrix and the trunk inside."""
        return Cost.dense(self.mean.flops(n)) + self.inner.cost(n)


@register("block", "toy_gather")
class GatherBlock(ThresholdBlock):
    """As `toy_threshold`, and gathers the positions that it runs; how many those are is known afterwards only."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        carried = state if isinstance(state, BlockState) else BlockState(None)
        normed_BND = self.norm(x_BND)
        keep = self.chosen(self.score(normed_BND).squeeze(-1), ctx) & ctx.ok
        index, inner = ctx.packed(keep)
        wide = index.unsqueeze(-1).expand(-1, -1, self.width)
        z_BMD = normed_BND.gather(1, wide)
        mixed, mixer = self.mixer(z_BMD, inner, carried.mixer)
        fed, ffn = self.ffn(z_BMD + mixed, inner, carried.ffn)
        update = torch.where(inner.ok.unsqueeze(-1), mixed + fed, 0.0)
        planned = self.inside(x_BND.shape[1])
        ran = [self.inside(max(1, kept)) for kept in keep.sum(1).tolist()]  # a row's own, whatever stands beside it
        for what in ("flops", "executed"):
            beyond = [float(getattr(cost, what) - getattr(planned, what)) for cost in ran]
            ctx.add_count(f"{self.path}.{what}", torch.tensor(beyond, dtype=x_BND.dtype))
        return x_BND.scatter_add(1, wide, update), BlockState(mixer, ffn)

    def inside(self, n: int) -> Cost:
        """Mixer and ffn over n positions."""
        return self.mixer.cost(n) + self.ffn.cost(n)

    def spent(self, counts: dict[str, float]) -> Cost:  # type: ignore[override]
        """As counted."""
        return Cost(counts.get(f"{self.path}.flops", 0.0), counts.get(f"{self.path}.executed", 0.0))


@dataclass(frozen=True)
class SumState(State):
    """total [B, D] of the newest document's valid inputs; segment [B]: its number."""

    total: Tensor
    segment: Tensor


@register("mixer", "toy_document")
class DocumentMixer(Mixer):
    """The sum of the inputs of a document so far; where another one begins it starts anew."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.into = Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        y_BND = self.into(x_BND)
        total, segment = torch.zeros_like(y_BND[:, 0]), ctx.segment[:, 0]
        if isinstance(state, SumState):
            total, segment = state.total, state.segment
        outputs = []
        for t in range(x_BND.shape[1]):
            ok, here = ctx.ok[:, t], ctx.segment[:, t]
            kept = total * (here == segment).unsqueeze(-1) + y_BND[:, t]
            total = torch.where(ok.unsqueeze(-1), kept, total)
            segment = torch.where(ok, here, segment)
            outputs.append(total)
        return torch.tanh(torch.stack(outputs, 1)), SumState(total, segment)

    def cost(self, n: int) -> Cost:
        """One square matrix; sums are elementwise."""
        return Cost.dense(self.into.flops(n))


@torch.library.custom_op("lllm_tests::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    """x^3, opaque to torch: it stands for an operation written in C++ or Triton."""
    return x**3


@cube.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return 3 * x**2 * grad  # type: ignore[no-any-return]


cube.register_autograd(_backward, setup_context=_keep)


@register("ffn", "toy_custom")
class CustomFFN(FFN):
    """A feed-forward whose activation is a custom operator; it follows training progress, too."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.into, self.out = Linear(build.width, build.width), Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        warm = ctx.progress if ctx.train else 1.0
        return self.out(warm * cube(torch.tanh(self.into(x_BND)))), None

    def cost(self, n: int) -> Cost:
        """Two square matrices."""
        return Cost.dense(self.into.flops(n) + self.out.flops(n))
