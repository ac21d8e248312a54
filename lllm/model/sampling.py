"""Drawing ids from logits, each row with a generator of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How to draw. generators: one per row, so that what stands beside a row in the batch changes nothing.
    temperature 0 is greedy; top_k None keeps every legal id."""

    generators: Sequence[torch.Generator]
    temperature: float = 1.0
    top_k: int | None = None

    def __call__(self, logits: Tensor, active: Tensor) -> Tensor:
        """One id per row [B] from logits [B, V]; rows where `active` [B] is False draw nothing and give 0."""
        if self.temperature == 0:
            return logits.argmax(-1) * active
        scaled = logits.double() / self.temperature
        if self.top_k is not None and self.top_k < scaled.shape[-1]:
            kept = scaled.topk(self.top_k, -1).values[:, -1:]
            scaled = scaled.masked_fill(scaled < kept, float("-inf"))
        weights = scaled.softmax(-1).cpu()
        picks = [
            int(torch.multinomial(row, 1, generator=generator)) if drawn else 0
            for row, generator, drawn in zip(weights, self.generators, active.tolist(), strict=True)
        ]
        return torch.tensor(picks, device=logits.device)
