"""The learning rate's grid: powers of two around a centre, the same ones for every variant, extended at its edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from lllm.config.search import LR
from lllm.search.sampling import OneByOne

__all__ = ["MOST", "ROUNDS", "GridSampler", "at", "distribution", "extension", "first", "offset", "points"]

ROUNDS = 3  # by so many points at most a grid is extended on either side
_FARTHEST = 64  # powers of two that any grid stays within
MOST = 2 * (_FARTHEST - ROUNDS) + 1  # points of a grid that may still be extended
_SAME = 1e-9  # relative difference below which two rates are one


def first(count: int) -> list[int]:
    """The exponents nearest to the centre: 0, -1, 1, -2, 2, ..."""
    return [(k + 1) // 2 * (-1 if k % 2 else 1) for k in range(count)]


def at(centre: float, exponent: int) -> float:
    """The rate at a point of the grid."""
    return centre * 2.0**exponent


def offset(centre: float, rate: float) -> int | None:
    """The exponent of a rate, None where it is no point of the grid."""
    exponent = round(math.log2(rate / centre))
    return exponent if math.isclose(at(centre, exponent), rate, rel_tol=_SAME) else None


def distribution(centre: float, reach: int = _FARTHEST) -> FloatDistribution:
    """Rates within `reach` powers of two of the centre; as it stands a range that no extension leaves."""
    return FloatDistribution(at(centre, -reach), at(centre, reach), log=True)


def points(count: int, tried: Iterable[Iterable[int]]) -> list[int]:
    """The exponents that every variant is to try: the first `count`, and those that any of them has tried already."""
    wanted = first(count)
    return wanted + sorted({k for some in tried for k in some} - set(wanted), key=lambda k: (abs(k), k))


def extension(count: int, curves: Sequence[Mapping[int, float | None]]) -> list[int]:
    """The points to add when all of the grid has been served: one beyond each edge at which the best of some variant
    lies, down to `ROUNDS` beyond the first `count` points. With one or two points every best is at an edge, and the
    grid grows until one is inside or the bound is met.

    curves: of each variant, exponent -> the number to be small, None where the trial came to none.
    """
    known = [{k: value for k, value in curve.items() if value is not None} for curve in curves]
    bests = [min(curve, key=curve.__getitem__) for curve in known if curve]
    added = []
    for sign in (-1, 1):
        edge = max((sign * k for curve in curves for k in curve), default=0)
        bound = max(sign * k for k in first(count)) + ROUNDS
        if edge < bound and any(sign * k == edge for k in bests):
            added.append(sign * (edge + 1))
    return added


class GridSampler(OneByOne):
    """Gives each trial the first wanted point that no earlier one has. Drivers of one study that want the same points
    never give one twice: a trial that has not said yet which it takes is counted as taking the next one."""

    def __init__(self, centre: float, wanted: Callable[[], Sequence[int]]) -> None:
        self.centre, self.wanted = centre, wanted

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        left = list(self.wanted())
        for other in sorted(study.get_trials(deepcopy=False), key=lambda one: one.number):
            if other.number >= trial.number or not left:
                break
            taken = offset(self.centre, other.params[LR]) if LR in other.params else left[0]
            if taken in left:
                left.remove(taken)
        return at(self.centre, left[0] if left else 0)
