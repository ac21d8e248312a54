"""Many-to-one comparisons: the distribution of the largest of k correlated t statistics (Dunnett 1955, JASA 50, 1096).

Each of k rows is compared with one baseline. Their differences share the baseline, and so are correlated, by 1/2 where
all have equally many runs. Given the baseline's own error z and the estimate s of the standard deviation the k
statistics are independent, which leaves a double integral.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, stdtr, stdtrit

from lllm.results.statistics.root import root

__all__ = ["critical", "criticals", "p_value"]

_Z, _S = 96, 64  # nodes of the two integrals: exact to about 1e-8
_NODES = 16  # of the interpolation over degrees of freedom: exact to about 1e-6
_MOST_DF = 1e6


@lru_cache(maxsize=1)
def _normal() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of an expectation over a standard normal z of what is the same for z and -z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_Z)
    return nodes[_Z // 2 :], 2 * weights[_Z // 2 :] / weights.sum()


@lru_cache(maxsize=256)
def _scale(df: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights of an expectation over s = sqrt(chi^2 / df), by Gauss-Legendre between quantiles."""
    low, high = (math.sqrt(2 * gammaincinv(df / 2, q) / df) for q in (1e-14, 1 - 1e-14))
    nodes, weights = np.polynomial.legendre.leggauss(_S)
    edges = np.sqrt(2 * gammaincinv(df / 2, np.array([0.0, 0.05, 0.5, 0.95, 1.0])) / df)
    edges[0], edges[-1] = low, high
    s_parts, w_parts = [], []
    for left, right in pairwise(edges):
        s = left + (right - left) * (nodes + 1) / 2
        log_density = math.log(2) + (df / 2) * math.log(df / 2) - math.lgamma(df / 2)
        log_density = log_density + (df - 1) * np.log(s) - df * s**2 / 2
        s_parts.append(s)
        w_parts.append(weights * (right - left) / 2 * np.exp(log_density))
    return np.concatenate(s_parts), np.concatenate(w_parts)


def _below(c: float, k: int, df: float, rho: float) -> float:
    """P(max |T_i| <= c)."""
    z, z_weight = _normal()
    s, s_weight = _scale(df)
    loading, own = math.sqrt(rho), math.sqrt(1 - rho)
    bound = c * s[:, None]
    inside = ndtr((bound - loading * z) / own) - ndtr((-bound - loading * z) / own)
    return float(s_weight @ (inside**k @ z_weight))


def p_value(t: float, k: int, df: float, rho: float = 0.5) -> float:
    """P(max of k |T_i| > |t|): the p value of one of k comparisons, corrected for the family.

    t: difference / its standard error; df: of the pooled variance, at least 1; rho: correlation of two comparisons.
    """
    if k == 1:
        return float(2 * stdtr(df, -abs(t)))
    return min(1.0, max(0.0, 1 - _below(abs(t), k, df, rho)))


@lru_cache(maxsize=1024)
def critical(level: float, k: int, df: float, rho: float = 0.5) -> float:
    """The c for which k intervals of half width c standard errors hold together with probability `level`, two-sided."""
    if not (0 < level < 1 and k >= 1 and df >= 1 and 0 <= rho < 1):
        raise ValueError(f"level {level}, k {k}, df {df}, rho {rho}: expected 0 < level < 1, k, df >= 1, 0 <= rho < 1")
    # One comparison needs less, and k of them by Bonferroni's inequality no more, but for what is lost in the integral.
    low, high = (float(stdtrit(df, 1 - (1 - level) / (2 * of))) for of in (1, k))
    if k == 1:
        return low
    return root(lambda c: 1 - level - p_value(c, k, df, rho), 0.9 * low, 1.1 * high, 1e-10 * high)


def criticals(level: float, k: int, df: NDArray[np.float64], rho: float = 0.5) -> NDArray[np.float64]:
    """`critical` of many degrees of freedom, of any shape, as Satterthwaite's formula gives them."""
    found: NDArray[np.float64]
    if k == 1:
        found = stdtrit(df, (1 + level) / 2)
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
