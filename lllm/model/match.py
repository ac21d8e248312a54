"""Turning one size knob until a count meets its target: how variants are made equally large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lllm.errors import UserError

__all__ = ["Match", "solve"]


@dataclass(frozen=True)
class Match:
    """The knob's value, the count that it gives, and its relative distance from the target."""

    value: int
    count: float
    error: float


def solve(
    count: Callable[[int], float],
    target: float,
    tolerance: float,
    *,
    low: int = 1,
    high: int = 1 << 20,
    step: int = 1,
    where: str = "match",
) -> Match:
    """The value in low, low + step, ... whose count is nearest to `target`, by bisection; `count` must not decrease.

    Raises:
        UserError: the nearest count is further than `tolerance` (relative) from the target; names the nearest size.
    """
    left, right = 0, max(0, (high - low) // step)
    while left < right:
        middle = (left + right) // 2
        if count(low + middle * step) < target:
            left = middle + 1
        else:
            right = middle
    candidates = {low + i * step for i in (left - 1, left) if i >= 0}
    value = min(candidates, key=lambda v: (abs(count(v) - target), v))
    reached = count(value)
    error = reached / target - 1
    if abs(error) > tolerance:
        raise UserError(
            f"{where}: no size within {100 * tolerance:g}% of {target:,.0f}; the nearest is {reached:,.0f} "
            f"({error:+.3g} of it), at {value}"
        )
    return Match(value, reached, error)
