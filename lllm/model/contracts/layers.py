"""Contracts of what runs at latent rate: mixer, ffn, the block that joins them, and the trunk that stacks blocks."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lllm.model.context import Context
from lllm.model.contracts.base import Cost, ModelPart
from lllm.model.contracts.visibility import Visibility
from lllm.model.state import State

__all__ = ["FFN", "Block", "BlockState", "Mixer", "ParallelMixer", "Trunk", "TrunkState"]


class Mixer(ModelPart):
    """[B, n, D] -> [B, n, D], mixing along positions, causally.

    honours_visibility: it obeys ctx.visibility; one that is causal by construction does not and is refused with a
    visibility that has a non-causal region.
    reads: names in ctx.memory that it needs; a trunk that does not lend them is refused.
    """

    kind: ClassVar[str] = "mixer"
    honours_visibility: bool = False
    reads: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        """Outputs (of no meaning where ctx.ok is False) and the state after these positions.

        `state` None is a row's beginning. Parallel, chunked and stepwise are one method: outputs for positions
        0..n-1 then n..m-1 with the carried state equal those of 0..m-1 at once. Never updates a state in place.
        """

    def cost(self, n: int) -> Cost:
        """What torch's counter sees of the parallel form, on the meta device, where nothing is computed; a mixer that
        knows its algorithm's own cost overrides it."""
        with torch.device("meta"), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            x_BND = torch.empty(1, n, self.width)
            ctx = Context.of(torch.ones(1, n, dtype=torch.bool), Visibility())
            # What is lent has the stream's shape, unless the mixer overrides this.
            lent: dict[str, Tensor | State] = {name: torch.zeros_like(x_BND) for name in self.reads}
            empty = copy.deepcopy(self).to("meta")
            with FlopCounterMode(display=False) as counter:
                empty(x_BND, replace(ctx, memory=lent))
        return Cost.dense(counter.get_total_flops())


@dataclass(frozen=True)
class InputsState(State):
    """Everything a mixer without a state of its own has read: inputs [B, m, D], positions, validity and documents
    [B, m], and what it `reads` of ctx.memory, [B, m, ...] each, or of the whole row."""

    x: Tensor
    pos: Tensor
    ok: Tensor
    segment: Tensor
    memory: dict[str, Tensor | State]


class ParallelMixer(Mixer):
    """A mixer that gives only its parallel form, `mix`; carried states are recomputation, correct and slow."""

    @abstractmethod
    def mix(self, x_BND: Tensor, ctx: Context) -> Tensor:
        """Outputs [B, n, D] of whole rows. Positions where ctx.ok is False must be as if they were not there."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        new = InputsState(x_BND, ctx.pos, ctx.ok, ctx.segment, {name: ctx.memory[name] for name in self.reads})
        if state is None:
            return self.mix(x_BND, ctx), new
        if not isinstance(state, InputsState):
            raise TypeError(f"{type(self).__name__} carries an InputsState, not {type(state).__name__}")
        new = InputsState(
            torch.cat([state.x, new.x], 1),
            torch.cat([state.pos, new.pos], 1),
            torch.cat([state.ok, new.ok], 1),
            torch.cat([state.segment, new.segment], 1),
            {name: _joined(state.memory[name], lent) for name, lent in new.memory.items()},
        )
        memory = {**ctx.memory, **new.memory}
        whole = replace(ctx, pos=new.pos, ok=new.ok, segment=new.segment, wanted=None, tail_only=False, memory=memory)
        return self.mix(new.x, whole)[:, -x_BND.shape[1] :], new


def _joined(before: Tensor | State, now: Tensor | State) -> Tensor | State:
    """What was lent at earlier positions and at these; a state is of the whole row already."""
    return torch.cat([before, now], 1) if isinstance(before, Tensor) and isinstance(now, Tensor) else now


class FFN(ModelPart):
    """[B, n, D] -> [B, n, D], position-wise; one that reads earlier positions declares it.

    token_shift: it reads the position before, and so carries a state.
    sized_by: the option that says how large it is, which matching turns; None where there is no such one.
    """

    kind: ClassVar[str] = "ffn"
    sized_by: ClassVar[str | None] = "hidden"
    token_shift: bool = False

    @property
    def position_wise(self) -> bool:  # type: ignore[override]
        """See `ModelPart`."""
        return not self.token_shift

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State | None]:
        """Outputs [B, n, D], and the state after these positions (None without a token shift)."""


@dataclass(frozen=True)
class BlockState(State):
    """What a layer carries: its mixer's state and its ffn's."""

    mixer: State | None
    ffn: State | None = None


class Block(ModelPart):
    """How a mixer and an ffn join the residual stream: x [B, n, D] -> x [B, n, D].

    Where positions compete with one another to run, the block is not `position_wise`.
    training_leaks: training may see later positions (as mixture of depths by top-k); evaluation never may.
    """

    kind: ClassVar[str] = "block"
    training_leaks: bool = False
    position_wise = True

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        """The residual stream after this layer, and the layer's state."""


@dataclass(frozen=True)
class TrunkState(State):
    """layers: one state per executed layer; shared: what belongs to the trunk itself (a cache read by many layers)."""

    layers: tuple[State, ...]
    shared: State | None = None


class Trunk(ModelPart):
    """[B, n, D] -> [B, n, D]: the executed order of layers, what they share, and the cache point.

    lends: names that it puts into ctx.memory for mixers that read them.
    """

    kind: ClassVar[str] = "trunk"
    lends: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, State]:
        """The stream after all layers [B, n, D] and the state after these positions."""
