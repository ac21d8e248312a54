"""The forward context: what a part may know about the positions that it is given. One per rate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lllm.model.noise import Noise
from lllm.model.state import State

if TYPE_CHECKING:
    from lllm.model.contracts.visibility import Visibility

__all__ = ["Context", "Told", "told"]


@dataclass
class Told:
    """What the parts said during one call of the model, by name. Parts add to it through their context and cannot read
    it: what one layer said of a whole row would reach the next one past every mask.

    aux: auxiliary losses, [B] each: averaged over the global batch, never part of the nats.
    metrics: numbers to log, [B] per row or one for the call.
    statistics: batch statistics, [B] each, whose global means are `Context.last` of the next step.
    counts: how much data-dependent work was done, [B] each; see `ModelPart.spent`.
    calls: how often each metric and statistic was added to.
    """

    aux: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)
    calls: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class Context:
    """Positions at one rate (tokens or latents). B rows, n positions of this call.

    pos [B, n]: absolute position in the row, not in the call.
    ok [B, n]: False for padding, unrouted and incomplete alike. Such a position changes no state and is seen by nobody.
    tail_only: every False in `ok` comes after every True of its row, so causal attention may ignore the mask.
    prefix [B]: M, the number of complete chunks in the row's non-causal prefix; 0 is causal, and always so under a
    visibility without a non-causal region.
    rows: what keys in-model noise, [B] global row ids or, of a local context, [B, 2] pairs (row, chunk).
    segment [B, n]: the document of each position, a number; a row may hold several.
    wanted [B, n]: the positions whose output anybody reads; None is all. See `lllm.model.stack.run_wanted`.
    progress: (i + 1/2) / n at training step i (from 0) of n; in scoring and generation that at which the weights are, 1
    at the end of training.
    memory: what a trunk lends to layers that declare they read it: tensors [B, n, ...] of the positions of this call,
    and states, which are of the whole row so far.
    last: global value of each batch statistic at the previous step, read only.
    A part tells of auxiliary losses, statistics, metrics and counts by `add_aux`, `add_statistic`, `add_metric` and
    `add_count`, under names that begin with its `path`; nobody reads them before the call is over, see `Told`.
    memo: what layers compute from the positions alone and need only once (never copied to a derived context).
    """

    pos: Tensor
    ok: Tensor
    prefix: Tensor
    rows: Tensor
    visibility: Visibility
    segment: Tensor
    wanted: Tensor | None = None
    tail_only: bool = True
    train: bool = False
    progress: float = 0.0
    noise: Noise = field(default_factory=Noise)
    memory: dict[str, Tensor | State] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    memo: dict[Hashable, Any] = field(default_factory=dict, init=False)
    _told: Told = field(default_factory=Told, repr=False)
    weight: Tensor | None = field(default=None, repr=False)  # [rows of the data, chunks]: see `local`

    def where(self, keep: Tensor) -> Context:
        """The same call with only the positions of `keep` [B, n] valid: masking, which must equal gathering."""
        return replace(self, ok=self.ok & keep, tail_only=False)

    def gather(self, index: Tensor) -> Context:
        """The call restricted to positions `index` [B, m] of this one, with their original positions."""

        def at(value: Tensor) -> Tensor:
            return value.gather(1, index.view(*index.shape, *[1] * (value.dim() - 2)).expand(-1, -1, *value.shape[2:]))

        return replace(
            self,
            pos=at(self.pos),
            ok=at(self.ok),
            segment=at(self.segment),
            wanted=None if self.wanted is None else at(self.wanted),
            tail_only=False,
            memory={name: at(lent) if isinstance(lent, Tensor) else lent for name, lent in self.memory.items()},
        )

    def packed(self, keep: Tensor) -> tuple[Tensor, Context]:
        """The positions of `keep` [B, n] of each row side by side: their indices [B, m], m >= 1 being the most that a
        row keeps, and the call over them, where rows that keep fewer have invalid positions at their end."""
        most = max(1, int(keep.sum(1).max()))
        index = keep.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        return index, self.gather(index).where(keep.gather(1, index))

    def local(self, ok: Tensor, start: int = 0) -> Context:
        """The context of layers over the slots of each chunk: ok [B, N, n] -> N B rows of positions start..start+n-1.

        Such layers are causal (prefix is 0), unless they are given another visibility by `replace`. Each chunk draws
        noise of its own, keyed by (row, chunk); what they add is averaged over the row's chunks that have a valid slot.
        The first slot of every chunk is valid, so that no row is empty.
        """
        batch, n, slots = ok.shape
        inside = ok | (torch.arange(slots, device=ok.device) == 0)
        rows = torch.stack([self.rows[:, None].expand(batch, n), self.pos.expand(batch, n)], -1)
        pos = torch.arange(start, start + slots, device=ok.device).expand(batch * n, slots)
        prefix = self.prefix.new_zeros(batch * n)
        return replace(
            self,
            pos=pos,
            ok=inside.flatten(0, 1),
            prefix=prefix,
            rows=rows.flatten(0, 1),
            segment=self.segment[:, :, None].expand(batch, n, slots).flatten(0, 1),
            wanted=None,
            tail_only=True,
            memory={},
            weight=ok.any(-1),
        )

    def add_aux(self, name: str, per_row: Tensor) -> None:
        """Add an auxiliary loss, [B] per row; what is added under one name is summed."""
        value = self._per_row(per_row)
        aux = self._told.aux
        aux[name] = aux[name] + value if name in aux else value

    def add_statistic(self, name: str, per_row: Tensor) -> None:
        """A batch statistic, [B] per row: the mean of what is added under one name, without its gradient."""
        self._average("statistics", self._told.statistics, name, per_row)

    def add_metric(self, name: str, value: Tensor) -> None:
        """A number to log, [B] per row or one for the call: the mean of what is added under one name."""
        self._average("metrics", self._told.metrics, name, value)

    def add_count(self, name: str, per_row: Tensor) -> None:
        """How much of something was done for each row, [B]; what is added under one name is summed."""
        value = per_row.detach()
        if self.weight is not None:  # of a row's chunks together
            value = (value.view(self.weight.shape) * self.weight).sum(1)
        counts = self._told.counts
        counts[name] = counts[name] + value if name in counts else value

    def _average(self, kind: str, into: dict[str, Tensor], name: str, value: Tensor) -> None:
        value = self._per_row(value).detach()
        count = self._told.calls[kind, name] = self._told.calls.get((kind, name), 0) + 1
        into[name] = value if count == 1 else into[name] + (value - into[name]) / count

    def _per_row(self, value: Tensor) -> Tensor:
        """One number per row of the data from one per row of this context."""
        if self.weight is None or value.dim() == 0:
            return value
        weight = self.weight.to(value.dtype)
        return (value.view(self.weight.shape) * weight).sum(1) / weight.sum(1).clamp(min=1)

    @staticmethod
    def of(
        ok: Tensor,
        visibility: Visibility,
        *,
        prefix: Tensor | None = None,
        rows: Tensor | None = None,
        segment: Tensor | None = None,
        train: bool = False,
        progress: float = 0.0,
        noise: Noise | None = None,
        last: Mapping[str, float] | None = None,
    ) -> Context:
        """A context for the first n positions of each row."""
        batch, n = ok.shape
        pos = torch.arange(n, device=ok.device).expand(batch, n)
        zero = torch.zeros(batch, dtype=torch.long, device=ok.device)
        return Context(
            pos=pos,
            ok=ok,
            prefix=zero if prefix is None else prefix,
            rows=torch.arange(batch, device=ok.device) if rows is None else rows,
            visibility=visibility,
            segment=zero[:, None].expand(batch, n) if segment is None else segment,
            train=train,
            progress=progress,
            noise=noise or Noise(),
            last=MappingProxyType(dict(last or {})),
        )


def told(ctx: Context) -> Told:
    """What was said during the call of `ctx`, for whoever made it."""
    return ctx._told
