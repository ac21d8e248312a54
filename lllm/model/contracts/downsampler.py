"""Contracts of what makes latents of tokens: embedding and downsampler."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lllm.model.build import Build
from lllm.model.context import Context
from lllm.model.contracts.base import ModelPart
from lllm.model.state import State
from lllm.registry import PartConfig

__all__ = ["Downsampler", "Embedding", "Encoded", "Step", "WindowDownsampler", "WindowState"]


class Embedding(ModelPart):
    """Token ids [B, T] -> token states [B, T, d]; causal and stepwise."""

    kind: ClassVar[str] = "embedding"

    @abstractmethod
    def forward(self, tokens: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        """Token states [B, T, d] and the state after them; `state` is that of the tokens before this call."""


@dataclass(frozen=True)
class Encoded:
    """latents [B, N, D]; ok [B, N], complete chunks; tokens [B, T, d], causal token states, when handed out;
    owner [B, T]: the chunk to which each token belongs, non-decreasing from 0 and a function of the tokens before it
    (None: t // ratio). A learned number of latents: owner < N, and each row's chunks fill 0..its last owner.
    lent: by name, what else it says of each token to a head that reads it, [B, T, ...], as causal as the states (the
    probability that a chunk ends there)."""

    latents: Tensor
    ok: Tensor
    tokens: Tensor | None = None
    owner: Tensor | None = None
    lent: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One token's worth of a downsampler. latent [B, D], of meaning where done [B] (this token completed a chunk);
    token [B, d]: its state, when handed out; lent: what else is said of it, [B, ...]; state: after it."""

    latent: Tensor
    done: Tensor
    state: State
    token: Tensor | None = None
    lent: Mapping[str, Tensor] = field(default_factory=dict)


class Downsampler(ModelPart):
    """Token states [B, T, d] -> latents [B, N, D]; latent i sees tokens of chunks <= i only.

    hands_tokens: it hands out token states for token-level heads.
    lends: names of what it says of each token beside its state; a head that `reads` others is refused.
    token_causal: token states see no later token; an encoder that looks both ways within a chunk sets it False.
    ratios: ratios it can run at; None is any.
    dynamic: chunks have a learned length; only heads that read token states fit.
    drops_latents: the newest latent may be left out, so T-FRESH does not expect it.
    """

    kind: ClassVar[str] = "downsampler"
    hands_tokens: bool = False
    lends: tuple[str, ...] = ()
    token_causal: bool = True
    ratios: tuple[int, ...] | None = None
    dynamic: bool = False
    drops_latents: bool = False

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.ratio, self.token_width = build.ratio, build.token_width

    def latents(self, tokens: int) -> int:
        """Latents of a row of `tokens` tokens, for accounting; a dynamic part gives the number that it aims at, which
        the plan takes: what a run is charged is what there were."""
        return tokens // self.ratio

    @abstractmethod
    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        """Latents of whole rows; T is a multiple of the ratio (padding has ctx.ok False)."""

    @abstractmethod
    def start(self, batch: int, like: Tensor) -> State:
        """The state before the first token; `like` gives dtype and device."""

    @abstractmethod
    def resume(self, e_BTd: Tensor, lengths: Tensor, ctx: Context) -> State:
        """The state after the first lengths[b] tokens of each row, given token states from the row's beginning and
        their context."""

    @abstractmethod
    def step(self, e_Bd: Tensor, ctx: Context, state: State) -> Step:
        """One token per row where ctx.ok [B, 1]; other rows are left exactly as they were, and are never done."""


@dataclass(frozen=True)
class WindowState(State):
    """tail [B, w, d]: the last w token states, zeros before the row's start; count [B]: tokens so far."""

    tail: Tensor
    count: Tensor


class WindowDownsampler(Downsampler):
    """A downsampler whose latent is a function of the last `window` token states of its chunk's end.

    A subclass gives `window` >= ratio and `encode`; parallel, resumed and stepwise forms follow from them.
    """

    window: int

    @abstractmethod
    def encode(self, e_BNwd: Tensor) -> Tensor:
        """Windows [..., w, d] -> latents [..., D]."""

    def forward(self, e_BTd: Tensor, ctx: Context) -> Encoded:
        batch, length, _ = e_BTd.shape
        ratio, window = self.ratio, self.window
        e_BTd = e_BTd * ctx.ok.unsqueeze(-1)
        if window == ratio:
            windows = e_BTd.view(batch, length // ratio, ratio, -1)
        else:
            padded = torch.nn.functional.pad(e_BTd, (0, 0, window - ratio, 0))
            windows = padded.unfold(1, window, ratio).transpose(-1, -2)
        return Encoded(self.encode(windows), ctx.ok.view(batch, length // ratio, ratio).all(-1))

    def start(self, batch: int, like: Tensor) -> WindowState:
        count = torch.zeros(batch, dtype=torch.long, device=like.device)
        return WindowState(like.new_zeros(batch, self.window, self.token_width), count)

    def resume(self, e_BTd: Tensor, lengths: Tensor, ctx: Context) -> WindowState:
        index = lengths[:, None] - self.window + torch.arange(self.window, device=lengths.device)
        if e_BTd.shape[1] == 0:
            return self.start(e_BTd.shape[0], e_BTd)
        tail = e_BTd.gather(1, index.clamp(min=0).unsqueeze(-1).expand(-1, -1, e_BTd.shape[-1]))
        return WindowState(tail * (index >= 0).unsqueeze(-1), lengths.clone())

    def step(self, e_Bd: Tensor, ctx: Context, state: State) -> Step:
        if not isinstance(state, WindowState):
            raise TypeError(f"{type(self).__name__}.step needs a WindowState, not {type(state).__name__}")
        ok = ctx.ok[:, 0]
        pushed = torch.cat([state.tail[:, 1:], e_Bd[:, None]], 1)
        tail = torch.where(ok[:, None, None], pushed, state.tail)
        count = state.count + ok
        done = ok & (count % self.ratio == 0)
        # Most steps complete no chunk: nothing is encoded then, and the latent has no meaning.
        latent = self.encode(tail) if bool(done.any()) else e_Bd.new_zeros(len(ok), self.width)
        return Step(latent, done, WindowState(tail, count))
