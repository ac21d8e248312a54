"""What every model part has in common: a module built from (config, build) that declares what it costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from lllm.model.build import Build
from lllm.registry import Part, PartConfig

if TYPE_CHECKING:
    from lllm.model.contracts.stage import Stage
    from lllm.train.hooks import Hook

__all__ = ["Cost", "ModelPart"]


@dataclass(frozen=True)
class Cost:
    """Forward FLOPs of contractions for one row (multiply-add = 2).

    flops: of the stated algorithm, causal attention counted exactly.
    executed: what a dense reference implementation does, which is what torch's counter sees.
    """

    flops: int = 0
    executed: int = 0

    @staticmethod
    def dense(flops: int) -> Cost:
        """A cost whose reference implementation does exactly the stated work."""
        return Cost(flops, flops)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.executed + other.executed)


class ModelPart(Part, nn.Module, ABC):
    """Root of the model contracts.

    noncausal_training: training lets a position depend on later ones (MoD by top-k); evaluation never may.
    """

    noncausal_training: bool = False

    def __init__(self, config: PartConfig, build: Build) -> None:
        nn.Module.__init__(self)
        self.width = build.width

    @abstractmethod
    def cost(self, n: int) -> Cost:
        """Cost of `n` positions of one row at this part's rate."""

    def hooks(self) -> Sequence[Hook]:
        """What the part needs of the trainer beyond the forward pass; see `lllm.train.hooks`."""
        return ()

    def stages(self) -> Sequence[Stage]:
        """What must be trained before the run."""
        return ()

    def fill_buffers_(self) -> None:
        """Give buffers their starting values; they are zero when it is called (models are built without weights)."""

    def calibrate_(self, *inputs: Tensor) -> None:
        """Put data-dependent thresholds strictly between observed values; parts without any need nothing."""

    def extra(self) -> dict[str, Any]:
        """Facts worth showing beside the part in the composed tree."""
        return {}
