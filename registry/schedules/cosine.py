"""Linear warm-up, then half a cosine."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from lllm.registry import PartConfig, register
from lllm.train.contracts import Schedule


@register("schedule", "cosine", refs=["arXiv:1608.03983"])
class Cosine(Schedule):
    """Rises linearly over `warmup` of the run, then falls along half a cosine to `floor` of the peak."""

    class Config(PartConfig):
        """warmup: share of the run. floor: last factor."""

        warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
        floor: Annotated[float, Field(ge=0, le=1)] = 0.1

    config: Config

    def factor(self, progress: float) -> float:
        if progress < self.config.warmup:
            return progress / self.config.warmup
        done = (progress - self.config.warmup) / (1 - self.config.warmup)
        return self.config.floor + (1 - self.config.floor) * 0.5 * (1 + math.cos(math.pi * done))
