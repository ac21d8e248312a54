"""Contract of a head: from the latent that predicts a chunk to a distribution over its tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts.base import ModelPart
from lllm.model.sampling import Sampling
from lllm.model.state import State
from lllm.registry import PartConfig

__all__ = ["Conditional", "Head", "Hidden", "Likelihood"]

Conditional = tuple[int, frozenset[int]]
"""(k, S): the distribution of slot k given the observed slots S; k is never in S."""


@dataclass(frozen=True)
class Hidden:
    """What a head reads. hidden [B, N, D] predicts the ids chunk [B, N, R].

    ok [B, N, R]: the real tokens that carry loss; while generating, the slots that are known.
    A head that wants token states is run at token rate: N is T, R is 1, hidden is the newest legal latent's output for
    each target and tokens [B, T, d] the causal token state before it; lent [B, T, ...] by name: what else the
    downsampler says of the token before it, 0 before the first. ctx is of the rate at which the head runs; its ok
    [B, N] says which of its inputs are there: latents, or the tokens before each target.
    """

    hidden: Tensor
    chunk: Tensor
    ok: Tensor
    ctx: Context
    tokens: Tensor | None = None
    lent: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Likelihood:
    """One likelihood of a head. kind: exact, bound (an upper bound of the nats) or none.
    nats [B, N] per chunk; slots [B, N, R] where they are per token."""

    kind: Literal["exact", "bound", "none"]
    nats: Tensor
    slots: Tensor | None = None
    primary: bool = False


class Head(ModelPart):
    """Distribution of the R tokens of a chunk.

    prefix_conditional: whether drawing the rest of a chunk given its first tokens is exact, approximate or impossible
    ("none": only prompts of whole chunks can be continued).
    projective: its joint over a longer row, marginalised, is its joint over the shorter one.
    wants_tokens: it runs at token rate over token states handed out by the downsampler.
    reads: names of what else the downsampler lends of each token that it needs; only at token rate.
    stateful: it reads earlier chunks itself, and carries a state between them.
    categorical: it has categorical conditionals, which drive the leak tests and sampling.
    """

    kind: ClassVar[str] = "head"
    prefix_conditional: Literal["exact", "approx", "none"] = "exact"
    projective: bool = True
    wants_tokens: bool = False
    reads: tuple[str, ...] = ()
    stateful: bool = False
    categorical: bool = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.ratio = 1 if self.wants_tokens else build.ratio

    # --- likelihood ----------------------------------------------------------------------------------------------

    @abstractmethod
    def table(self) -> Sequence[Conditional]:
        """Every conditional that the head can answer."""

    @abstractmethod
    def conditionals(
        self, x: Hidden, which: Sequence[Conditional], state: State | None = None
    ) -> Mapping[Conditional, Tensor]:
        """Logits [B, N, V] of each asked (k, S), given the chunk's slots in S and no other."""

    @abstractmethod
    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        """Every likelihood by name; exactly one is primary. Nats of slots where x.ok is False are 0."""

    def train_loss(self, x: Hidden) -> Likelihood:
        """What training descends, unreduced: by default the primary likelihood; may be a cheaper estimator."""
        return next(value for value in self.likelihoods(x).values() if value.primary)

    def metrics(self, x: Hidden) -> Mapping[str, tuple[Tensor, Tensor]]:
        """What evaluation measures beside nats, as heads without a likelihood need it: name -> (sum [B], weight [B])
        per row, the same names for any rows. Each row is measured by itself; what is drawn at random comes from
        x.ctx.noise. x.ok: the tokens that count, without those of spans that the corpus does not score."""
        return {}

    def conclude_metrics(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """The numbers that are reported, from each sum / weight over all evaluated documents (NaN where the weight is
        0); as a geometric mean over several of them."""
        return means

    # --- generation ----------------------------------------------------------------------------------------------

    def drawn(self) -> Sequence[Conditional]:
        """The conditionals by which a chunk is drawn from nothing, in order."""
        known, which = frozenset[int](), []
        for slot in self.plan(0):
            which.append((slot, self.observed(slot, known)))
            known |= {slot}
        return which

    def open(self, hidden: Tensor) -> Tensor:
        """What follows from the latent alone and serves every slot of its chunk, [B, ...] from hidden [B, D]; kept
        until the chunk is complete. By default the latent itself."""
        return hidden

    def plan(self, known: int) -> Sequence[int]:
        """The order in which the slots after a known prefix of `known` tokens are drawn."""
        return range(known, self.ratio)

    def observed(self, slot: int, known: frozenset[int]) -> frozenset[int]:
        """The S of the conditional by which `slot` is drawn when `known` slots are known."""
        return known

    def slot_logits(self, opened: Tensor, x: Hidden, slot: Tensor, state: State | None = None) -> Tensor:
        """Logits [B, V] of slot[b] of the only chunk of x (N = 1) given its known slots, x.ok."""
        known = [frozenset(i for i, seen in enumerate(row) if seen) for row in x.ok[:, 0].tolist()]
        asked = [(k, self.observed(k, seen)) for k, seen in zip(slot.tolist(), known, strict=True)]
        logits = self.conditionals(x, list(dict.fromkeys(asked)), state)
        return torch.stack([logits[item][row, 0] for row, item in enumerate(asked)])

    def draw(self, opened: Tensor, x: Hidden, sampling: Sampling, state: State | None = None) -> Tensor:
        """The only chunk of x [B, R] with its known prefix kept and the other slots drawn, in the order of `plan`.

        Each slot is one call of `slot_logits`; a head whose slots build on one another overrides this to carry what it
        knows of the chunk from slot to slot.
        """
        chunk, known = x.chunk[:, 0], x.ok[:, 0]
        plans = [self.plan(count) for count in known.sum(-1).tolist()]
        for turn in range(max(map(len, plans), default=0)):
            picks = [plan[turn] if turn < len(plan) else -1 for plan in plans]
            slot = torch.tensor(picks, device=chunk.device)
            active, slot = slot >= 0, slot.clamp(min=0)
            now = replace(x, chunk=chunk[:, None], ok=known[:, None])
            drawn = sampling(self.slot_logits(opened, now, slot, state), active)
            here = active[:, None] & (torch.arange(self.ratio, device=slot.device) == slot[:, None])
            chunk, known = torch.where(here, drawn[:, None], chunk), known | here
        return chunk

    def resume(self, x: Hidden, complete: Tensor) -> State | None:
        """A stateful head's state after the first complete[b] chunks of each row of x."""
        return None

    def commit(self, x: Hidden, ok: Tensor, state: State | None) -> State | None:
        """A stateful head's state after the only chunk of x, which is complete in the rows where ok [B]."""
        return None
