"""Contract of a head: from the latent that predicts a chunk to a distribution over its tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts.base import ModelPart
from lllm.registry import PartConfig

__all__ = ["Conditional", "Head", "Hidden", "Likelihood"]

Conditional = tuple[int, frozenset[int]]
"""(k, S): the distribution of slot k given the observed slots S; k is never in S."""


@dataclass(frozen=True)
class Hidden:
    """What a head reads. hidden [B, N, D] predicts chunk [B, N, R] (ids, or one-hot rows [B, N, R, V]);
    ok [B, N, R]: real tokens; tokens [B, T, d]: causal token states of wanting heads."""

    hidden: Tensor
    chunk: Tensor
    ok: Tensor
    ctx: Context
    tokens: Tensor | None = None


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

    prefix_conditional: whether drawing the rest of a chunk given its first tokens is exact, approximate or impossible.
    projective: its joint over a longer row, marginalised, is its joint over the shorter one.
    wants_tokens: it reads token states handed out by the downsampler.
    categorical: it has categorical conditionals, which drive the leak tests and sampling.
    """

    kind: ClassVar[str] = "head"
    prefix_conditional: Literal["exact", "approx", "none"] = "exact"
    projective: bool = True
    wants_tokens: bool = False
    categorical: bool = True

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.ratio = build.ratio

    @abstractmethod
    def table(self) -> Sequence[Conditional]:
        """Every conditional that the head can answer."""

    @abstractmethod
    def conditionals(self, x: Hidden, which: Sequence[Conditional]) -> Mapping[Conditional, Tensor]:
        """Logits [B, N, V] of each asked (k, S), given the chunk's slots in S and no other."""

    @abstractmethod
    def likelihoods(self, x: Hidden) -> Mapping[str, Likelihood]:
        """Every likelihood by name; exactly one is primary. Nats of slots where x.ok is False are 0."""

    def train_loss(self, x: Hidden) -> Likelihood:
        """What training descends, unreduced: by default the primary likelihood; may be a cheaper estimator."""
        return next(value for value in self.likelihoods(x).values() if value.primary)

    def plan(self, known: int) -> list[int]:
        """The order in which the slots after a known prefix of `known` tokens are drawn."""
        return list(range(known, self.ratio))

    def observed(self, slot: int) -> frozenset[int]:
        """The S of the conditional by which `slot` is drawn when slots are drawn left to right."""
        return frozenset(range(slot))

    def open(self, hidden: Tensor) -> Tensor:
        """What follows from the latent alone and serves every slot of its chunk, [B, ...] from hidden [B, D]; kept
        until the chunk is complete. By default the latent itself."""
        return hidden

    def next_logits(self, opened: Tensor, x: Hidden, slot: Tensor) -> Tensor:
        """Logits [B, V] of slot[b] of the only chunk of x (N = 1) given the row's earlier slots. A head that opened
        more than the latent overrides it."""
        asked = [(k, self.observed(k)) for k in sorted(set(slot.tolist()))]
        logits = self.conditionals(x, asked)
        stacked = torch.stack([logits[item][:, 0] for item in asked])
        index = torch.tensor([k for k, _ in asked], device=slot.device)
        return stacked[torch.searchsorted(index, slot), torch.arange(len(slot), device=slot.device)]
