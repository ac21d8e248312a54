"""What a test of the probe found: deviations in nats where there should be none, and the rule that judges them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["FLIP", "LARGEST", "Finding", "Gap", "judged"]

LARGEST = 1e-3
"""Nats. In float32 legal parts deviate by up to 6e-6, an FFT among them; the weakest planted cheat by 5e-2."""
FLIP = 0.1
"""Nats. In lower precision a row that deviates further took another discrete choice, as of a router."""
_ERRORS = 4  # standard errors that the mean deviation of a lower precision may have beside LARGEST


@dataclass(frozen=True)
class Gap:
    """One comparison. value [B, N] or [B, N, R]: what was found minus what was expected, in nats (of a likelihood of
    kind none: of the latents, relative to their size); where: of that shape, the entries that were compared."""

    test: str
    value: Tensor
    where: Tensor


@dataclass(frozen=True)
class Finding:
    """One test. compared: how many predictions; largest: the deviation of largest size, in nats, and the row and
    position (token, or chunk times its tokens) where it is, None where nothing was compared; mean and standard_error:
    of the signed deviations; flips: rows that in lower precision took another discrete choice; required: whether it
    must hold (what a block declares to leak in training is reported only)."""

    test: str
    compared: int
    largest: float
    row: int | None
    position: int | None
    mean: float
    standard_error: float
    flips: list[int] = field(default_factory=list)
    exact: bool = True
    required: bool = True

    @property
    def holds(self) -> bool:
        """Whether the deviations are those of rounding."""
        if not math.isfinite(self.largest):
            return False
        if self.exact:
            return abs(self.largest) <= LARGEST
        return abs(self.mean) <= LARGEST + _ERRORS * self.standard_error

    @property
    def passed(self) -> bool:
        """Whether the run may go on."""
        return self.holds or not self.required

    def record(self) -> dict[str, Any]:
        """As probe.json has it."""
        return {**asdict(self), "passed": self.passed}


def judged(gap: Gap, slots: int, *, exact: bool, required: bool = True) -> Finding:
    """The finding of a comparison; slots: tokens of a chunk; exact: in float32, where no entry may deviate. In TF32 and
    bfloat16 round-off is as large as a leak and has no sign: there the mean over all positions is judged."""
    compared = int(gap.where.sum())
    if not compared:
        return Finding(gap.test, 0, 0.0, None, None, 0.0, 0.0, exact=exact, required=required)
    value = torch.where(gap.where, gap.value.detach().double(), 0.0)
    size = torch.where(torch.isnan(value), math.inf, value.abs())
    per_row = size.flatten(1).amax(1)
    row = int(per_row.argmax())
    entry = int(size[row].flatten().argmax())
    position = entry if gap.value.dim() == 3 else entry * slots
    mean = float(value.sum()) / compared
    spread = math.sqrt(float(((value - mean).square() * gap.where).sum()) / max(1, compared - 1))
    flips = [] if exact else torch.nonzero(per_row > FLIP).flatten().tolist()
    largest = float(value[row].flatten()[entry])
    error = spread / math.sqrt(compared)
    return Finding(gap.test, compared, largest, row, position, mean, error, flips, exact, required)
