"""Many-to-one comparisons: the distribution of the largest of k correlated t statistics (Dunnett 1955, JASA 50, 1096).

Each of k rows is compared with one baseline. Their differences share the baseline, and so are correlated, by 1/2 where
all have equally many runs. Given the baseline's own error z and the estimate s of the standard deviation the k
statistics are independent, which leaves a double integral.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, stdtr, stdtrit

__all__ = ["critical", "criticals", "p_value", "root"]

_Z, _S = 96, 224  # nodes of the two integrals: exact to about 1e-8 of a probability, however small
_NODES = 16  # of the interpolation over degrees of freedom: exact to about 1e-6
_MOST_DF = 1e6
_STEPS = 200  # of a search for a root
_EPS = float(np.finfo(np.float64).epsneg)


@lru_cache(maxsize=1)
def _normal() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of an expectation over a standard normal z of what is the same for z and -z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_Z)
    return nodes[_Z // 2 :], 2 * weights[_Z // 2 :] / weights.sum()


@lru_cache(maxsize=256)
def _scale(df: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of an expectation over s = sqrt(chi^2 / df), by the trapezoidal rule in log s: far tails rest
    on the smallest s."""
    low, high = (math.log(2 * gammaincinv(df / 2, q) / df) / 2 for q in (1e-18, 1 - 1e-14))
    log_s = np.linspace(low, high, _S)
    s = np.exp(log_s)
    log_density = df * (log_s - s**2 / 2)
    weights = np.exp(log_density - log_density.max())
    return s, weights / weights.sum()


def _above(c: float, k: int, df: float, rho: float) -> float:
    """P(max |T_i| > c), without the round-off of 1 minus its complement."""
    z, z_weight = _normal()
    s, s_weight = _scale(df)
    loading, own = math.sqrt(rho), math.sqrt(1 - rho)
    bound = c * s[:, None]
    outside = ndtr((loading * z - bound) / own) + ndtr((-bound - loading * z) / own)
    any_outside = -np.expm1(k * np.log1p(-np.minimum(outside, 1 - _EPS)))
    return float(s_weight @ (any_outside @ z_weight))


def p_value(t: float, k: int, df: float, rho: float = 0.5) -> float:
    """P(max of k |T_i| > |t|): the p value of one of k comparisons, corrected for the family.

    t: difference / its standard error; df: of the pooled variance, at least 1; rho: correlation of two comparisons.
    """
    if k == 1:
        return float(2 * stdtr(df, -abs(t)))
    return min(1.0, _above(abs(t), k, df, rho))


@lru_cache(maxsize=1024)
def critical(level: float, k: int, df: float, rho: float = 0.5) -> float:
    """The c for which k intervals of half width c standard errors hold together with probability `level`, two-sided."""
    if not (0 < level < 1 and k >= 1 and df >= 1 and 0 <= rho < 1):
        raise ValueError(f"level {level}, k {k}, df {df}, rho {rho}: expected 0 < level < 1, k, df >= 1, 0 <= rho < 1")
    # One comparison needs less, and k of them by Bonferroni's inequality no more, but for what is lost in the integral.
    low, high = (-float(stdtrit(df, (1 - level) / (2 * of))) for of in (1, k))
    if k == 1:
        return low
    return root(lambda c: 1 - level - p_value(c, k, df, rho), 0.9 * low, 1.1 * high, 1e-10 * high)


def criticals(level: float, k: int, df: NDArray[np.float64], rho: float = 0.5) -> NDArray[np.float64]:
    """`critical` of many degrees of freedom, of any shape, as Satterthwaite's formula gives them."""
    found: NDArray[np.float64]
    if k == 1:
        found = -stdtrit(df, (1 - level) / 2)
        return found
    df = np.clip(df, 1, _MOST_DF)
    distinct, place = np.unique(df, return_inverse=True)
    if len(distinct) <= _NODES:
        exact = np.array([critical(level, k, float(one), rho) for one in distinct])
        return exact[place].reshape(df.shape)
    found = np.exp(_log_critical(level, k, rho)(1 / df))
    return found


@lru_cache(maxsize=64)
def _log_critical(level: float, k: int, rho: float) -> Chebyshev:
    """The logarithm of `critical` as a polynomial in 1 / df, from 1 to many degrees of freedom: smooth there."""

    def at(inverse: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log([critical(level, k, float(1 / one), rho) for one in inverse])

    return Chebyshev.interpolate(at, _NODES - 1, domain=[1 / _MOST_DF, 1])


def root(function: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """x in [low, high] with function(x) = 0, to within `tolerance`, of a monotone function: false position in the
    Illinois form (Dowell and Jarratt 1971, BIT 11, 168), halving where that is slow. scipy.optimize has it, and takes a
    tenth of a second to import: every table would wait for it.

    Raises:
        ValueError: the function has one sign at both ends.
    """
    at_low, at_high = function(low), function(high)
    if at_low * at_high > 0:
        raise ValueError(f"function({low}) = {at_low} and function({high}) = {at_high} have one sign")
    for step in range(_STEPS):
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
