"""Warm-up, stable, decay."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, model_validator

from lllm.registry import PartConfig, Search, register
from lllm.train.contracts import Schedule


@register("schedule", "wsd", refs=["arXiv:2405.18392"])
class WarmupStableDecay(Schedule):
    """Rises linearly over `warmup`, stays, and over the last `decay` of the run falls as 1 - sqrt(share of it done)."""

    class Config(PartConfig):
        """warmup, decay: shares of the run. floor: last factor."""

        warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
        decay: Annotated[float, Field(gt=0, le=1), Search(0.1, 0.5)] = 0.2
        floor: Annotated[float, Field(ge=0, le=1)] = 0.0

        @model_validator(mode="after")
        def _fits(self) -> Any:
            if self.warmup + self.decay > 1:
                raise ValueError("warmup and decay together are longer than the run")
            return self

    config: Config

    def factor(self, progress: float) -> float:
        if progress < self.config.warmup:
            return progress / self.config.warmup
        into = (progress - (1 - self.config.decay)) / self.config.decay
        return 1.0 if into <= 0 else self.config.floor + (1 - self.config.floor) * (1 - math.sqrt(into))
