"""Looking again and again: how much of what may go wrong by chance each look may spend.

Whoever adds a seed, looks, and adds another until the difference is there finds one in the end: twenty looks at 5% each
reject in a quarter of all experiments without any difference. A spending function says beforehand how much of alpha is
spent by when (Lan and DeMets 1983, Biometrika 70, 659); this one spends as O'Brien and Fleming's boundaries do: next
to nothing early, so that the last look is almost as good as the only one.
"""

from __future__ import annotations

import math

from scipy.special import ndtr, ndtri

__all__ = ["FIRST", "look_level", "spent"]

FIRST = 2  # seeds with which the first look is taken: one has no spread
_LEAST = 1e-6  # spent by every look at least, since p values are exact to about 1e-8


def spent(alpha: float, n: int, most: int) -> float:
    """Probability of a false finding that is spent once n of `most` seeds are in: 2 (1 - Phi(z / sqrt(n / most))), with
    z the normal quantile at 1 - alpha / 2. All of alpha with n = most.

    Raises:
        ValueError: alpha is no probability, or n is not between 1 and most.
    """
    if not (0 < alpha < 1 and 1 <= n <= most):
        raise ValueError(f"alpha {alpha}, n {n}, most {most}: expected 0 < alpha < 1 <= n <= most")
    if n == most:
        return alpha
    return float(2 * ndtr(ndtri(alpha / 2) / math.sqrt(n / most)))


def look_level(level: float, n: int, most: int) -> float:
    """Level of the simultaneous intervals at the look with n seeds, where a look is taken with 2, 3, ... up to `most`.

    Each look has what was spent since the one before it, and no more: by the union bound all looks together find
    something where nothing is in at most 1 - level of all experiments, however they depend on one another. That is
    conservative; boundaries that know how they depend would need the joint distribution of pooled Dunnett statistics.

    Raises:
        ValueError: level is no probability, or n is not between 2 and most.
    """
    if n < FIRST:
        raise ValueError(f"n {n}: expected at least {FIRST} seeds")
    before = _by(1 - level, n - 1, most) if n > FIRST else 0.0
    return 1 - (_by(1 - level, n, most) - before)


def _by(alpha: float, n: int, most: int) -> float:
    """What all looks up to the one with n seeds may have spent."""
    found = spent(alpha, n, most)
    return found if n == most else max(found, min(_LEAST, alpha / most) * n)
