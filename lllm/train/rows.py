"""Sums per row of the validation data, from which the blocks of an evaluation are made."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RowSums"]


class RowSums:
    """Raw bytes, and nats by likelihood, of each row by its global number.

    A row has a place of its own, so that a sum over ranks adds zeros to it, and how rows are batched changes nothing.
    The places grow with the batches, which every rank sees alike.
    """

    def __init__(self, device: torch.device) -> None:
        self.count = 0
        self.bytes = torch.zeros(0, dtype=torch.float64, device=device)
        self.nats: dict[str, Tensor] = {}

    def reserve(self, rows: Tensor) -> None:
        """Make room for rows [B], those of other ranks included."""
        self.count = max(self.count, int(rows.max()) + 1)
        lacking = self.count - len(self.bytes)
        if lacking > 0:
            more = (0, max(lacking, len(self.bytes)))  # at least twice as many: copies cost no more than the sums
            self.bytes = torch.nn.functional.pad(self.bytes, more)
            self.nats = {name: torch.nn.functional.pad(held, more) for name, held in self.nats.items()}

    def add_bytes(self, rows: Tensor, size: Tensor) -> None:
        """size [B] float64, of rows [B]."""
        self.bytes.index_add_(0, rows, size)

    def add_nats(self, name: str, rows: Tensor, nats: Tensor) -> None:
        """nats [B] float64, of rows [B]."""
        self.nats.setdefault(name, torch.zeros_like(self.bytes)).index_add_(0, rows, nats)

    def all(self) -> list[Tensor]:
        """Every tensor, for a sum over ranks."""
        return [self.bytes, *(self.nats[name] for name in sorted(self.nats))]
