"""Where a monotone function is zero. scipy.optimize has it, and takes a tenth of a second to import: every table would
wait for it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["root"]

_MOST = 200


def root(function: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """x in [low, high] with function(x) = 0, to within `tolerance`: false position in the Illinois form (Dowell and
    Jarratt 1971, BIT 11, 168), halving where that is slow.

    Raises:
        ValueError: the function has one sign at both ends.
    """
    at_low, at_high = function(low), function(high)
    if at_low * at_high > 0:
        raise ValueError(f"function({low}) = {at_low} and function({high}) = {at_high} have one sign")
    for step in range(_MOST):
        if at_high == 0 or abs(high - low) <= tolerance:
            return high
        x = (low + high) / 2 if step % 3 == 2 else high - at_high * (high - low) / (at_high - at_low)
        value = function(x)
        if value * at_high < 0:
            low, at_low = high, at_high
        else:
            at_low /= 2
        high, at_high = x, value
    return high
