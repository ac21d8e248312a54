"""A stage: something a part must train before the run itself (an autoencoder whose latents are then frozen)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lllm.model.contracts.output import Rows
from lllm.model.noise import Noise

__all__ = ["Stage"]


@dataclass(frozen=True)
class Stage:
    """Named parameters, a loss, a budget and a gate.

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
