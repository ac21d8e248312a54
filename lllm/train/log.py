"""What is logged of the steps since the last record: exact sums, kept in checkpoints so that resumed logs agree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from lllm.train.gradients import StepTotals

__all__ = ["Window"]


@dataclass
class Window:
    """Sums over the steps since the last record; tokens_seen, bytes_seen and flops_seen over the whole run."""

    steps: int = 0
    nats: float = 0.0
    weight: float = 0.0
    clipped: int = 0
    norm: float = 0.0
    lr: float = 0.0
    named: dict[str, list[float]] = field(default_factory=dict)  # sum, and number of steps that gave it
    updates: dict[str, float] = field(default_factory=dict)
    tokens_seen: int = 0
    bytes_seen: int = 0
    flops_seen: float = 0.0

    def __post_init__(self) -> None:
        self._began, self._bytes_before = time.perf_counter(), self.bytes_seen  # of this process's share of the window

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(**{f.name: state[f.name] for f in fields(cls)})

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    def add(
        self, totals: StepTotals, *, norm: float, clipped: bool, lr: float, flops: float, metrics: Mapping[str, float]
    ) -> None:
        """Count one step."""
        self.steps += 1
        self.nats += totals.nats
        self.weight += totals.weight
        self.clipped += clipped
        self.norm += norm
        self.lr = lr
        self.tokens_seen += totals.tokens
        self.bytes_seen += totals.bytes
        self.flops_seen += flops
        kinds = {
            "aux": totals.aux,
            "statistic": totals.statistics,
            "metric": {**totals.metrics, **metrics},
            "count": totals.counts,
        }
        for kind, values in kinds.items():
            for name, value in values.items():
                held = self.named.setdefault(f"{kind}.{name}", [0.0, 0])
                held[0] += value
                held[1] += 1

    def flush(self) -> dict[str, Any]:
        """The record of these steps; begins anew."""
        now = time.perf_counter()
        record = {
            "tokens": self.tokens_seen,
            "bytes": self.bytes_seen,
            "flops": self.flops_seen,
            "loss": self.nats / max(self.weight, 1e-30),
            "lr": self.lr,
            "grad_norm": self.norm / self.steps,
            "clip_share": self.clipped / self.steps,
            **{f"update.{role}": value for role, value in self.updates.items()},
            **{name: total / count for name, (total, count) in self.named.items()},
            "bytes_per_second": (self.bytes_seen - self._bytes_before) / max(now - self._began, 1e-9),
        }
        kept = {name: getattr(self, name) for name in ("tokens_seen", "bytes_seen", "flops_seen")}
        self.__init__(**kept)  # type: ignore[misc]
        return record
