"""What a model takes from the data, what it gives to the trainer, and what its parts ask to be trained beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from lllm.model.noise import Noise

__all__ = ["Rows", "Stage", "TrainOut"]


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


@dataclass(frozen=True)
class Stage:
    """Something a part must train before the run itself (an autoencoder whose latents are then frozen): named
    parameters, a loss, a budget and a gate.

    name: unique within the model. parameters: paths within the part that owns the stage; trained here, frozen after.
    loss(batch, noise): [B] per row, averaged over the global batch. steps, lr: the budget, with AdamW at a constant
    rate. flops: training FLOPs per source token; the run is charged. gate(batch): None when the stage may be used, else
    why not, which ends the run as failed. identity: the configuration that, with data and seed, makes two stages the
    same, so that other runs reuse it.
    """

    name: str
    parameters: Sequence[str]
    loss: Callable[[Rows, Noise], Tensor]
    gate: Callable[[Rows], str | None]
    steps: int
    lr: float
    flops: float
    identity: Mapping[str, Any] = field(default_factory=dict)
