"""What a model takes from the data and gives to the trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

__all__ = ["Rows", "TrainOut"]


class Rows(Protocol):
    """The fields of a batch that the model reads: tokens [B, T] ids, ok [B, T], rows [B] global ids, prompt [B] tokens
    at the row's beginning that are read and never scored, segment [B, T] the document of each token."""

    @property
    def tokens(self) -> Tensor: ...
    @property
    def ok(self) -> Tensor: ...
    @property
    def rows(self) -> Tensor: ...
    @property
    def prompt(self) -> Tensor: ...
    @property
    def segment(self) -> Tensor: ...


@dataclass(frozen=True)
class TrainOut:
    """Unreduced training loss. nats [B, N] per chunk; slots [B, N, R] where it is per token; ok [B, N, R]: tokens that
    carry loss. aux: auxiliary losses [B] by name; metrics: numbers to log; statistics: batch statistics [B] whose
    global means the next step is given; counts: data-dependent work [B]."""

    nats: Tensor
    slots: Tensor | None
    ok: Tensor
    aux: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)
