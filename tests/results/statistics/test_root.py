"""The root of a monotone function, against scipy."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from scipy.optimize import brentq

from lllm.results.statistics.dunnett import root


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (lambda x: x - 0.3, 0.0, 1.0),
        (lambda x: math.tanh(20 * (x - 0.9)), -3.0, 50.0),
        (lambda x: 0.95 - math.erfc(x), 0.0, 8.0),
        (lambda x: x**9 - 1e-9, 0.0, 10.0),
        (lambda x: math.exp(x) - 1, -40.0, 3.0),
        (lambda x: -x, -1.0, 0.0),
    ],
)
def test_roots_are_those_of_scipy(function: Callable[[float], float], low: float, high: float) -> None:
    calls = 0

    def counted(x: float) -> float:
        nonlocal calls
        calls += 1
        return function(x)

    found = root(counted, low, high, 1e-10)
    assert found == pytest.approx(brentq(function, low, high, xtol=1e-12), abs=2e-10)
    assert calls < 120


def test_one_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="have one sign"):
        root(lambda x: x + 2, 0.0, 1.0, 1e-9)
