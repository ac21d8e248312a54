"""What every model part has in common: a module built from (config, build) that declares what it costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lllm.model.build import Build
from lllm.registry import Part, PartConfig

if TYPE_CHECKING:
    from lllm.model.contracts.output import Stage
    from lllm.train.hooks import Hook

__all__ = ["Cost", "ModelPart", "part_name"]


@dataclass(frozen=True)
class Cost:
    """Forward FLOPs of contractions for one row (multiply-add = 2).

    flops: of the stated algorithm, causal attention counted exactly.
    executed: what a dense reference implementation does, which is what torch's counter sees.
    """

    flops: float = 0
    executed: float = 0

    @staticmethod
    def dense(flops: float) -> Cost:
        """A cost whose reference implementation does exactly the stated work."""
        return Cost(flops, flops)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.executed + other.executed)


class ModelPart(Part, nn.Module, ABC):
    """Root of the model contracts.

    position_wise: besides what the trunk lends, the output at a position depends on the input there alone, and nothing
    is carried. Of a block: but for the mixer and the ffn in it.
    path: where it stands in the model ("trunk.layers.0.mixer"), once the model is built. Unique, so it begins the names
    of whatever the part logs, adds or keeps.
    """

    position_wise: bool = False
    path: str = ""

    def __init__(self, config: PartConfig, build: Build) -> None:
        nn.Module.__init__(self)
        self.width = build.width

    @abstractmethod
    def cost(self, n: int) -> Cost:
        """Cost of `n` positions of one row at this part's rate."""

    def spent(self, counts: Mapping[str, float]) -> Cost:
        """What one row cost beyond `cost(n)`, less than nothing where it is less, given the global means over rows of
        what the part has told `Context.add_count`: for parts whose work depends on the data, whose `cost` is then what
        they aim at. Of what is executed in training."""
        return Cost()

    def hooks(self) -> Sequence[Hook]:
        """What the part needs of the trainer beyond the forward pass; see `lllm.train.hooks`."""
        return ()

    def stages(self) -> Sequence[Stage]:
        """What must be trained before the run."""
        return ()

    def initialise_(self, stream: Callable[[str], torch.Generator]) -> None:
        """Fill parameters otherwise than by their roles, which have filled them when it is called. stream(purpose): a
        CPU generator of (seed, the part's path, purpose)."""

    def fill_buffers_(self) -> None:
        """Give buffers their starting values; they are zero when it is called (models are built without weights)."""

    def calibrate_(self, *inputs: Tensor) -> None:
        """Put data-dependent thresholds strictly between observed values; parts without any need nothing."""


def part_name(part: object) -> str:
    """The name under which a part is registered, or its class's."""
    info = getattr(type(part), "__part__", None)
    return info.name if info is not None else type(part).__name__
