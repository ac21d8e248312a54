"""Turning one size knob until a count meets its target: how variants are made equally large, or equally expensive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lllm.errors import UserError

__all__ = ["Match", "closest", "solve"]


@dataclass(frozen=True)
class Match:
    """The knob's value, the count that it gives, and its relative distance from the target. lowest, highest: value and
    count of the smallest and the largest size that were tried."""

    value: int
    count: float
    error: float
    lowest: tuple[int, float]
    highest: tuple[int, float]


def closest(count: Callable[[int], float], target: float, *, low: int = 1, high: int = 1 << 20, step: int = 1) -> Match:
    """The value in low, low + step, ..., high whose count is nearest to `target`; `count` must not decrease.

    Doubles the steps until the target is passed, then halves: no size far beyond the target is ever counted.
    """
    tried: dict[int, float] = {}

    def at(i: int) -> float:
        if i not in tried:
            tried[i] = count(low + i * step)
        return tried[i]

    last = max(0, (high - low) // step)
    below, above = -1, 0
    while at(above) < target and above < last:
        below, above = above, min(max(1, 2 * above), last)
    while above - below > 1:
        middle = (below + above) // 2
        if at(middle) < target:
            below = middle
        else:
            above = middle
    found = min((i for i in (below, above) if i >= 0), key=lambda i: (abs(at(i) - target), i))
    ends = [(low + i * step, tried[i]) for i in (min(tried), max(tried))]
    return Match(low + found * step, at(found), at(found) / target - 1, ends[0], ends[1])


def solve(
    count: Callable[[int], float],
    target: float,
    tolerance: float,
    *,
    low: int = 1,
    high: int = 1 << 20,
    step: int = 1,
    where: str = "match",
    what: str = "",
) -> Match:
    """As `closest`, within a relative tolerance. where, what: begin the message, and follow the target in it.

    Raises:
        UserError: the nearest count is further than `tolerance` from the target; names it and the range reached.
    """
    found = closest(count, target, low=low, high=high, step=step)
    if abs(found.error) > tolerance:
        (smallest, least), (largest, most) = found.lowest, found.highest
        raise UserError(
            f"{where}: no size within {100 * tolerance:g}% of {target:,.0f}{what}; the nearest is {found.count:,.0f} "
            f"({found.error:+.3g} of it), at {found.value}; sizes from {smallest} to {largest} reach {least:,.0f} to "
            f"{most:,.0f}"
        )
    return found
