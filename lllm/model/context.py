"""The forward context: what a part may know about the positions that it is given. One per rate."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lllm.model.noise import Noise

if TYPE_CHECKING:
    from lllm.model.contracts.visibility import Visibility

__all__ = ["Context"]


@dataclass
class Context:
    """Positions at one rate (tokens or latents). B rows, n positions of this call.

    pos [B, n]: absolute position in the row, not in the call.
    ok [B, n]: False for padding, unrouted and incomplete alike. Such a position changes no state and is seen by nobody.
    tail_only: every False in `ok` comes after every True of its row, so causal attention may ignore the mask.
    prefix [B]: M, the number of complete chunks in the row's non-causal prefix; 0 is causal.
    rows [B]: global row ids, which key in-model noise.
    progress: training progress in [0, 1].
    memory: what a trunk lends to layers that declare they read it.
    aux: auxiliary losses by name, [B] each: averaged over the global batch, never part of the nats.
    metrics: numbers to log by name.
    last: global value of each batch statistic at the previous step; `statistics` collects this call's, [B] each.
    memo: what layers compute from the positions alone and need only once (never copied to a derived context).
    """

    pos: Tensor
    ok: Tensor
    prefix: Tensor
    rows: Tensor
    visibility: Visibility
    tail_only: bool = True
    train: bool = False
    progress: float = 0.0
    noise: Noise = field(default_factory=Noise)
    memory: dict[str, Tensor] = field(default_factory=dict)
    aux: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    memo: dict[Hashable, Any] = field(default_factory=dict, init=False)

    def where(self, keep: Tensor) -> Context:
        """The same call with only the positions of `keep` [B, n] valid: masking, which must equal gathering."""
        return replace(self, ok=self.ok & keep, tail_only=False)

    def gather(self, index: Tensor) -> Context:
        """The call restricted to positions `index` [B, m] of this one, with their original positions."""
        return replace(self, pos=self.pos.gather(1, index), ok=self.ok.gather(1, index), tail_only=False)

    def add_aux(self, name: str, per_row: Tensor) -> None:
        """Add an auxiliary loss, [B] per row."""
        self.aux[name] = self.aux[name] + per_row if name in self.aux else per_row

    @staticmethod
    def of(
        ok: Tensor,
        visibility: Visibility,
        *,
        prefix: Tensor | None = None,
        rows: Tensor | None = None,
        start: int = 0,
        train: bool = False,
        progress: float = 0.0,
        noise: Noise | None = None,
    ) -> Context:
        """A context for positions start..start+n-1 of each row."""
        batch, n = ok.shape
        pos = torch.arange(start, start + n, device=ok.device).expand(batch, n)
        zero = torch.zeros(batch, dtype=torch.long, device=ok.device)
        return Context(
            pos=pos,
            ok=ok,
            prefix=zero if prefix is None else prefix,
            rows=torch.arange(batch, device=ok.device) if rows is None else rows,
            visibility=visibility,
            train=train,
            progress=progress,
            noise=noise or Noise(),
        )
