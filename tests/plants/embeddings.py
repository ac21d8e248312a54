"""Planted embeddings of bytes: a vector per token, and what is known later only. Loaded as a plugin."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.model import Build, Context, Role, State, parameter
from lllm.model.contracts import Cost, Embedding
from lllm.model.layers import TokenTable
from lllm.registry import PartConfig, register


class Peeking(Embedding):
    """A table, and a vector by which a subclass adds a number of each token."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.table = TokenTable(build.vocab, build.token_width)
        self.along = parameter(build.token_width, role=Role("vector", std=1.0, decay=False))

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        number_BT, after = self.peek(letters(tokens) & ctx.ok, ctx, state)
        return self.table(tokens) + number_BT.to(self.along.dtype).unsqueeze(-1) * self.along, after

    @abstractmethod
    def peek(self, letter_BT: Tensor, ctx: Context, state: State | None) -> tuple[Tensor, State | None]:
        """A number of each token [B, T], and the state after them."""

    def cost(self, n: int) -> Cost:
        """A lookup contracts nothing."""
        return Cost()


def letters(tokens: Tensor) -> Tensor:
    """Which of ids [B, T] are ASCII letters."""
    lower = tokens | 32
    return (lower >= ord("a")) & (lower <= ord("z"))


@dataclass(frozen=True)
class WordState(State):
    """length [B]: letters at the end of what was read."""

    length: Tensor


@register("embedding", "plant_word")
class WordLength(Peeking):
    """Tells each letter how long its word will have been."""

    def peek(self, letter_BT: Tensor, ctx: Context, state: State | None) -> tuple[Tensor, State | None]:
        batch, n = letter_BT.shape
        run = (~letter_BT).long().cumsum(1)  # run 0 goes on with the word that was carried
        sizes = run.new_zeros(batch, n + 1).scatter_add(1, run, letter_BT.long())
        carried = state.length if isinstance(state, WordState) else sizes[:, 0] * 0
        sizes[:, 0] += carried
        count = ctx.ok.sum(1)
        newest = sizes.gather(1, run.gather(1, (count - 1).clamp(min=0)[:, None]))[:, 0]
        after = WordState(torch.where(count > 0, newest, carried))
        return sizes.gather(1, run) * letter_BT / 4, after


@register("embedding", "plant_next")
class NextToken(Embedding):
    """Adds a vector of the next token to every letter."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.table = TokenTable(build.vocab, build.token_width)
        self.later = TokenTable(build.vocab, build.token_width)

    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        e_BTd = self.table(tokens)
        told = (letters(tokens) & ctx.ok)[:, :-1] & ctx.ok[:, 1:]
        return e_BTd + F.pad(self.later(tokens[:, 1:]) * told.unsqueeze(-1), (0, 0, 0, 1)), None

    def cost(self, n: int) -> Cost:
        """Lookups contract nothing."""
        return Cost()


@register("embedding", "plant_end")
class DistanceToEnd(Peeking):
    """Tells each token how far the row's end is, in steps of 64 tokens."""

    def peek(self, letter_BT: Tensor, ctx: Context, state: State | None) -> tuple[Tensor, State | None]:
        return (ctx.ok.sum(1, keepdim=True) - ctx.pos).clamp(min=0) // 64, None
