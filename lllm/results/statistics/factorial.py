"""Effects of a full factorial: what each factor does on average over the others, and what it does to another's effect.

Runs are y = row + seed + error, as in the table (`family`): one variance, pooled over all rows. An effect is a contrast
of rows. In a balanced design contrasts are orthogonal, so their intervals hold together by the studentized maximum
modulus, the distribution of the largest of independent |t| with one variance. Where runs are missing least squares
leaves them correlated, and the same intervals are conservative (Sidak 1967, JASA 62, 626).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lllm.results.statistics.dunnett import critical, p_value
from lllm.results.statistics.family import ROUNDING

__all__ = ["Effect", "Factorial", "factorial"]

Values = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Effect:
    """factors: one, for a main effect: mean of the rows with it minus mean of those without. Two, for an interaction:
    half of what the one adds to the other's effect (Box, Hunter and Hunter's convention, in which every effect of a
    balanced design is known equally well). half: of its simultaneous interval; p: corrected for the family."""

    factors: tuple[str, ...]
    difference: float
    half: float | None
    p: float | None


@dataclass(frozen=True)
class Factorial:
    """effects: main ones, then interactions of two, in the factors' order. sd: of a run around its row and seed, with
    df degrees of freedom; None, as intervals are, where nothing is left to estimate it from."""

    effects: tuple[Effect, ...]
    sd: float | None
    df: int


def factorial(
    values: Values, of: Mapping[str, Sequence[str]], factors: Sequence[str], level: float = 0.95, paired: bool = True
) -> Factorial:
    """Main effects and interactions of two, with simultaneous intervals, from values[row][seed]. of: row -> the factors
    that it has; every combination of `factors` is a row. Rows may have different seeds; paired: one seed does the same
    to all rows.

    Raises:
        ValueError: a row has no run, or an effect cannot be told from the seeds'; says which.
    """
    rows = list(of)
    if without := next((row for row in rows if not values.get(row)), None):
        raise ValueError(f"row '{without}' has no run")
    seeds = sorted({seed for row in rows for seed in values[row]})
    cells = [(row, seed) for row in rows for seed in sorted(values[row])]
    design = np.zeros((len(cells), len(rows) + len(seeds)))
    for i, (row, seed) in enumerate(cells):
        design[i, rows.index(row)] = 1
        design[i, len(rows) + seeds.index(seed)] = paired
    y = np.array([values[row][seed] for row, seed in cells])
    inverse = np.linalg.pinv(design.T @ design)
    beta = inverse @ design.T @ y
    df = len(y) - int(np.linalg.matrix_rank(design))
    residuals = y - design @ beta
    sd = math.sqrt(float(residuals @ residuals) / df) if df else None
    rounding = ROUNDING * float(np.abs(y).max(initial=0.0))
    if sd is not None and sd <= rounding:  # runs that agree exactly: what is left is the arithmetic's
        sd = 0.0
    asked = [(name,) for name in factors] + list(combinations(factors, 2))
    found = []
    for names in asked:
        contrast = np.concatenate([_contrast(names, of, rows), np.zeros(len(seeds))])
        if not np.allclose(contrast @ inverse @ (design.T @ design), contrast, atol=1e-8):
            raise ValueError(f"{' x '.join(names)}: its rows share too few seeds to be told from them")
        error = None if sd is None else sd * math.sqrt(float(contrast @ inverse @ contrast))
        difference = float(contrast @ beta)
        difference = 0.0 if abs(difference) <= rounding else difference
        half, p = None, None
        if error is not None:
            half = critical(level, len(asked), df, 0.0) * error
            p = p_value(difference / error, len(asked), df, 0.0) if error else float(difference == 0)
        found.append(Effect(names, difference, half, p))
    return Factorial(tuple(found), sd, df)


def _contrast(names: Sequence[str], of: Mapping[str, Sequence[str]], rows: Sequence[str]) -> NDArray[np.float64]:
    """Weights of rows: + and - by the product of the factors' signs, each half of the rows averaged."""
    signs = [math.prod(1 if name in of[row] else -1 for name in names) for row in rows]
    return np.array(signs) * (2 / len(rows))
