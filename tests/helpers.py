"""Small compositions for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from lllm.model import Composition
from lllm.registry import Registry

NODES: dict[str, Any] = {
    "embedding": "table",
    "downsampler": "concat",
    "mixer": {"use": "attention", "heads": 2},
    "ffn": "swiglu",
    "block": "prenorm",
    "trunk": {"use": "uniform", "depth": 2},
    "visibility": "causal",
    "head": "local_ar",
}


def composition(
    registry: Registry,
    *,
    ratio: int = 4,
    width: int = 8,
    vocab: int = 7,
    illegal: tuple[int, ...] = (5, 6),
    **nodes: Any,
) -> Composition:
    chosen = {**NODES, **({"downsampler": "identity"} if ratio == 1 else {}), **nodes}
    parts = {kind: registry.config(kind, node, f"model.{kind}") for kind, node in chosen.items()}
    return Composition(parts, width, ratio, vocab, illegal)


@dataclass(frozen=True)
class PlainRows:
    """The fields of a batch that a model reads."""

    tokens: torch.Tensor
    ok: torch.Tensor
    rows: torch.Tensor
    prompt: torch.Tensor

    @property
    def segment(self) -> torch.Tensor:
        """One document per row."""
        return torch.arange(len(self.rows))[:, None].expand_as(self.ok)


def batch(tokens: torch.Tensor, ok: torch.Tensor | None = None) -> PlainRows:
    rows = torch.arange(len(tokens))
    return PlainRows(
        tokens, torch.ones_like(tokens, dtype=torch.bool) if ok is None else ok, rows, torch.zeros_like(rows)
    )
