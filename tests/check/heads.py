"""Legal toy heads. They live here only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, log

import torch
from torch import Tensor

from lllm.model import Build, Context, State
from lllm.model.contracts import Conditional, Cost, Head, Hidden, Likelihood, Mixer
from lllm.model.layers import Linear, RMSNorm, TokenTable
from lllm.model.roles import Role, parameter
from lllm.model.sampling import Sampling
from lllm.registry import PartConfig, register


@register("head", "toy_token")
class TokenHead(Head):
    """Runs at token rate over the token states that the downsampler hands out."""

    wants_tokens = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.down, self.up = Linear(build.width, build.token_width), Linear(build.token_width, build.token_width)
        self.unembedding = build.unembedding(build.token_width)

    def table(self) -> list[Conditional]:
        return [(0, frozenset())]

    def mixed(self, x: Hidden) -> Tensor:
        """What is unembedded [B, T, d]."""
        assert x.tokens is not None
        return torch.tanh(self.down(x.hidden) + self.up(x.tokens)) + x.tokens

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        return {item: self.unembedding(self.mixed(x)) for item in which}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = self.unembedding.nats(self.mixed(x).unsqueeze(2), x.chunk) * x.ok
        return {"token": Likelihood("exact", slots.sum(-1), slots, primary=True)}

    def cost(self, n: int) -> Cost:
        """`n` tokens."""
        return Cost.dense(self.down.flops(n) + self.up.flops(n) + self.unembedding.flops(n))


@register("head", "toy_confident")
class ConfidentHead(TokenHead):
    """Weighs the latent by what the downsampler says of the token before the target, as H-Net's decoder does."""

    reads = ("sure",)

    def mixed(self, x: Hidden) -> Tensor:
        assert x.tokens is not None
        return x.lent["sure"].unsqueeze(-1) * torch.tanh(self.down(x.hidden)) + self.up(x.tokens)


class ToySlots(Head):
    """Slots that read the observed tokens among `sources(k)`; a subclass says which those are."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.local = build.token_width
        self.up = Linear(build.width, build.ratio * self.local)
        self.tokens = TokenTable(build.vocab, self.local)
        self.mask = parameter(self.local, role=Role("vector", std=1.0, decay=False))
        self.across = Linear(build.ratio * self.local, build.ratio * self.local)
        self.norm = RMSNorm(self.local)
        self.unembedding = build.unembedding(self.local)

    def slot(self, x: Hidden, k: int, shown: frozenset[int]) -> Tensor:
        """Normed state [B, N, d] of slot k when the slots of `shown` are shown and all others masked."""
        batch, n, ratio = x.chunk.shape[:3]
        visible = torch.tensor([s in shown for s in range(ratio)])[:, None]
        states = torch.where(visible, self.tokens(x.chunk), self.mask).flatten(2)
        mixed = torch.tanh(self.across(states)) + self.up(x.hidden)
        return self.norm(mixed.view(batch, n, ratio, self.local)[:, :, k])  # type: ignore[no-any-return]

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        return {(k, seen): self.unembedding(self.slot(x, k, self.shown(k, seen))) for k, seen in which}

    def shown(self, k: int, seen: frozenset[int]) -> frozenset[int]:
        """The slots that the state of slot k is shown when `seen` are observed: those, unless a toy cheats."""
        return seen

    def nats(self, x: Hidden, k: int, seen: frozenset[int]) -> Tensor:
        """-log p(x_k | x_seen) [B, N], 0 where slot k is not real."""
        return self.unembedding.nats(self.slot(x, k, self.shown(k, seen)), x.chunk[:, :, k]) * x.ok[:, :, k]

    def calls(self) -> int:
        """Evaluations of `slot` in a training pass."""
        return self.ratio

    def cost(self, n: int) -> Cost:
        """Every evaluation runs the whole chunk and unembeds one slot."""
        one = self.up.flops(n) + self.across.flops(n) + self.unembedding.flops(n)
        return Cost.dense(self.calls() * one)


def scale(k: int) -> int:
    """{0}, {1}, {2, 3}, {4..7}: the scale of slot k."""
    return k.bit_length()


@register("head", "toy_var")
class VarHead(ToySlots):
    """Nested token sets: each slot sees the slots of earlier scales."""

    def table(self) -> list[Conditional]:
        return [(k, self.earlier(k)) for k in range(self.ratio)]

    def earlier(self, k: int) -> frozenset[int]:
        """Slots of earlier scales."""
        return frozenset(j for j in range(self.ratio) if scale(j) < scale(k))

    def observed(self, slot: int, known: frozenset[int]) -> frozenset[int]:
        return self.earlier(slot)

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = torch.stack([self.nats(x, k, seen) for k, seen in self.table()], -1)
        return {"scales": Likelihood("exact", slots.sum(-1), slots, primary=True)}


def subsets(slots: Sequence[int]) -> list[frozenset[int]]:
    """Every subset, small ones first."""
    return [frozenset(part) for size in range(len(slots) + 1) for part in combinations(slots, size)]


@register("head", "toy_diffusion")
class DiffusionHead(ToySlots):
    """Masked diffusion over a chunk: a bound, and the exact likelihood of revealing slots in random order.

    nelbo = sum over non-empty masks M of 1 / (|M| C(m, |M|)) sum_{k in M} -log p(x_k | the rest); mixture: A[{}] = 1,
    A[S + k] += A[S] p(x_k | x_S), p = A[all] / m!; both over the m real slots, the others staying masked.
    """

    projective = False

    def table(self) -> list[Conditional]:
        every = subsets(range(self.ratio))
        return [(k, seen) for seen in every for k in range(self.ratio) if k not in seen]

    def calls(self) -> int:
        return self.ratio * 2 ** (self.ratio - 1)

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        nats = {item: self.nats(x, *item) for item in self.table()}
        real = x.ok.sum(-1)
        nelbo, mixture = torch.zeros_like(x.hidden[..., 0]), torch.zeros_like(x.hidden[..., 0])
        for m in range(1, self.ratio + 1):
            here = real == m  # real slots are the chunk's first m
            nelbo = torch.where(here, self._nelbo(nats, m), nelbo)
            mixture = torch.where(here, self._mixture(nats, m), mixture)
        return {"nelbo": Likelihood("bound", nelbo, primary=True), "mixture": Likelihood("exact", mixture)}

    def _nelbo(self, nats: Mapping[Conditional, Tensor], m: int) -> Tensor:
        total = torch.zeros_like(nats[0, frozenset()])
        for seen in subsets(range(m)):
            hidden = m - len(seen)
            for k in set(range(m)) - seen:
                total = total + nats[k, seen] / (hidden * comb(m, hidden))
        return total

    def _mixture(self, nats: Mapping[Conditional, Tensor], m: int) -> Tensor:
        log_a = {frozenset[int](): torch.zeros_like(nats[0, frozenset()])}
        for seen in subsets(range(m))[1:]:
            log_a[seen] = torch.stack([log_a[seen - {k}] - nats[k, seen - {k}] for k in seen]).logsumexp(0)
        return sum(log(i) for i in range(1, m + 1)) - log_a[frozenset(range(m))]

    def draw(self, opened: Tensor, x: Hidden, sampling: Sampling, state: State | None = None) -> Tensor:
        """Unknown slots in an order of each row's own."""
        chunk, known = x.chunk[:, 0], x.ok[:, 0]
        orders = torch.stack([torch.randperm(self.ratio, generator=g) for g in sampling.generators])
        for slot in orders.T:
            active = ~known.gather(1, slot[:, None])[:, 0]
            now = Hidden(x.hidden, chunk[:, None], known[:, None], x.ctx, x.tokens)
            drawn = sampling(self.slot_logits(opened, now, slot, state), active)
            here = active[:, None] & (torch.arange(self.ratio) == slot[:, None])
            chunk, known = torch.where(here, drawn[:, None], chunk), known | here
        return chunk


@dataclass(frozen=True)
class PastState(State):
    """past [B, d]: a decayed sum over complete chunks."""

    past: Tensor


@register("head", "toy_stateful")
class StatefulHead(Head):
    """Reads earlier chunks itself: a decayed sum of their tokens' vectors, carried from chunk to chunk."""

    stateful = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.up = Linear(build.width, build.token_width)
        self.tokens = TokenTable(build.vocab, build.token_width)
        self.position = parameter(build.ratio, build.token_width, role=Role("table", std=0.1, decay=False))
        self.unembedding = build.unembedding(build.token_width)

    def table(self) -> list[Conditional]:
        return [(k, frozenset()) for k in range(self.ratio)]

    def observed(self, slot: int, known: frozenset[int]) -> frozenset[int]:
        return frozenset()

    def pasts(self, x: Hidden) -> list[Tensor]:
        """The carried sum before each chunk, and after the last: N + 1 of [B, d]."""
        past = [torch.zeros_like(x.hidden[:, 0, : self.up.fan_out])]
        for chunk in self.tokens(x.chunk).mean(2).unbind(1):
            past.append(0.5 * past[-1] + chunk)
        return past

    def slots(self, x: Hidden, state: State | None) -> Tensor:
        """What is unembedded [B, N, R, d]."""
        past = state.past.unsqueeze(1) if isinstance(state, PastState) else torch.stack(self.pasts(x)[:-1], 1)
        return torch.tanh((self.up(x.hidden) + past).unsqueeze(2) + self.position)

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        logits = self.unembedding(self.slots(x, state))
        return {(k, seen): logits[:, :, k] for k, seen in which}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = self.unembedding.nats(self.slots(x, None), x.chunk) * x.ok
        return {"independent": Likelihood("exact", slots.sum(-1), slots, primary=True)}

    def resume(self, x: Hidden, complete: Tensor) -> State:
        past = torch.stack(self.pasts(x), 1)
        return PastState(past[torch.arange(len(complete)), complete])

    def commit(self, x: Hidden, ok: Tensor, state: State | None) -> State:
        assert isinstance(state, PastState)
        new = 0.5 * state.past + self.tokens(x.chunk[:, 0]).mean(1)
        return PastState(torch.where(ok[:, None], new, state.past))

    def cost(self, n: int) -> Cost:
        """`n` chunks."""
        return Cost.dense(self.up.flops(n) + self.unembedding.flops(n * self.ratio))


@register("head", "toy_sampler")
class SamplerHead(Head):
    """Draws whole chunks and has no likelihood: trained by the distance of what it draws from the chunk's vectors."""

    categorical = False
    projective = False
    prefix_conditional = "none"

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.legal = torch.tensor([i for i in range(build.vocab) if i not in build.illegal], device="cpu")
        self.up = Linear(build.width, build.ratio * build.token_width)
        self.tokens = TokenTable(build.vocab, build.token_width)

    def table(self) -> list[Conditional]:
        return []

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        return {}

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        aim = self.tokens(x.chunk)
        slots = (self.up(x.hidden).view_as(aim) - aim).square().sum(-1) * x.ok
        return {"distance": Likelihood("none", slots.sum(-1), primary=True)}

    def draw(self, opened: Tensor, x: Hidden, sampling: Sampling, state: State | None = None) -> Tensor:
        """The nearest legal token to a noisy target, in every slot that is not known."""
        batch = len(x.hidden)
        shape = (self.ratio, self.tokens.weight.shape[1])
        noise = torch.stack([torch.randn(shape, generator=g) for g in sampling.generators]).to(x.hidden.dtype)
        aim = self.up(x.hidden[:, 0]).view(batch, *shape) + noise
        near = torch.cdist(aim, self.tokens.weight[self.legal].expand(batch, -1, -1)).argmin(-1)
        return torch.where(x.ok[:, 0], x.chunk[:, 0], self.legal[near])

    def cost(self, n: int) -> Cost:
        """`n` chunks."""
        return Cost.dense(self.up.flops(n))


@register("head", "toy_token_stateful")
class StatefulTokenHead(TokenHead):
    """A recurrent mixer over the token states before each target, whose state it carries from token to token."""

    stateful = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        inner = build.at_width(build.token_width).using("mixer", "toy_decay")
        self.mixer: Mixer = inner.part("mixer")

    def after(self, x: Hidden, ctx: Context, state: State | None) -> tuple[Tensor, State]:
        """What is unembedded [B, T, d], and the mixer's state after the valid inputs."""
        z_BTd = self.mixed(x)
        y_BTd, new = self.mixer(z_BTd, ctx, state)
        return z_BTd + y_BTd, new

    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        logits = self.unembedding(self.after(x, x.ctx, state)[0])
        return dict.fromkeys(which, logits)

    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        slots = self.unembedding.nats(self.after(x, x.ctx, None)[0].unsqueeze(2), x.chunk) * x.ok
        return {"token": Likelihood("exact", slots.sum(-1), slots, primary=True)}

    def resume(self, x: Hidden, complete: Tensor) -> State:
        read = torch.arange(x.hidden.shape[1]) < complete[:, None]
        return self.after(x, x.ctx.where(read), None)[1]

    def commit(self, x: Hidden, ok: Tensor, state: State | None) -> State:
        return self.after(x, x.ctx.where(ok[:, None]), state)[1]

    def cost(self, n: int) -> Cost:
        """`n` tokens."""
        return super().cost(n) + self.mixer.cost(n)
