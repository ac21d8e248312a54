"""Turning one size knob until a count meets its target: how variants are made equally large, or equally expensive."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count as count_from

from lllm.errors import UserError

__all__ = ["Match", "closest", "solve"]

_LARGEST = (1 << 20) - 1  # beyond the smallest size


@dataclass(frozen=True)
class Match:
    """The knob's value, the count that it gives, and its relative distance from the target. lowest, highest: value and
    count of the smallest and the largest size that were tried."""

    value: int
    count: float
    error: float
    lowest: tuple[int, float]
    highest: tuple[int, float]


def closest(count: Callable[[int], float], target: float) -> Match:
    """The value of at least 1 whose count is nearest to `target`; `count` must not decrease.

    Takes fourfold steps until the target is passed, so that no size far beyond it is ever counted, then goes where a
    straight line between the two sizes meets it, and to the middle every third time, for counts that are no line.
    """
    tried: dict[int, float] = {}

    def at(i: int) -> float:
        if i not in tried:
            tried[i] = count(1 + i)
        return tried[i]

    below, above = -1, 0
    while at(above) < target and above < _LARGEST:
        below, above = above, min(max(1, 4 * above), _LARGEST)
    for turn in count_from(1):
        if above - below <= 1:
            break
        middle = (below + above) // 2
        if turn % 3 and below >= 0 and (rise := at(above) - at(below)) > 0:
            meets = below + (target - at(below)) / rise * (above - below)
            middle = min(max(math.floor(meets) + turn % 2, below + 1), above - 1)
        if at(middle) < target:
            below = middle
        else:
            above = middle
    found = min((i for i in (below, above) if i >= 0), key=lambda i: (abs(at(i) - target), i))
    ends = [(1 + i, tried[i]) for i in (min(tried), max(tried))]
    return Match(1 + found, at(found), at(found) / target - 1, ends[0], ends[1])


def solve(
    count: Callable[[int], float], target: float, tolerance: float, *, where: str = "match", what: str = ""
) -> Match:
    """As `closest`, within a relative tolerance. where, what: begin the message, and follow the target in it.

    Raises:
        UserError: the nearest count is further than `tolerance` from the target; names it and the range reached.
    """
    found = closest(count, target)
    if abs(found.error) > tolerance:
        (smallest, least), (largest, most) = found.lowest, found.highest
        raise UserError(
            f"{where}: no size within {100 * tolerance:g}% of {target:,.0f}{what}; the nearest is {found.count:,.0f} "
            f"({found.error:+.3g} of it), at {found.value}; sizes from {smallest} to {largest} reach {least:,.0f} to "
            f"{most:,.0f}"
        )
    return found
