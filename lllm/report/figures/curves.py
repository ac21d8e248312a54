"""Thinned curves of runs against what was spent: from metrics.jsonl where it is here, else from the committed line."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lllm.errors import UserError
from lllm.results.committed import thin
from lllm.results.files import read_metrics
from lllm.results.records import Record

__all__ = ["SPENT", "Band", "Curve", "curves_of", "mean_of"]

SPENT = ("bytes", "flops", "seconds")
_TOTALS = {"bytes": "train_bytes", "flops": "train_flops", "seconds": "seconds"}  # in result.json, where a run ended


@dataclass(frozen=True)
class Curve:
    """values at steps; spent: what had been spent at each, of the names in SPENT those that are known."""

    steps: tuple[float, ...]
    values: tuple[float, ...]
    spent: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Band:
    """A mean over seeds, with the lowest and the highest of them."""

    mean: Curve
    low: tuple[float, ...]
    high: tuple[float, ...]


def curves_of(record: Record, fields: Sequence[str]) -> dict[str, Curve]:
    """Field of metrics.jsonl -> its curve, of those that the run has."""
    lines: list[dict[str, Any]] = []
    if record.path is not None:
        try:
            lines = read_metrics(record.path / "metrics.jsonl")
        except UserError:  # damaged: the table has the run's numbers, the figure does without its curve
            lines = []
    clock = [line for line in lines if all(_real(line.get(name)) for name in ("step", *SPENT))]
    found = {}
    for field in fields:
        points = [(line["step"], line[field]) for line in lines if _real(line.get("step")) and _real(line.get(field))]
        points = points or [(s, v) for s, v in record.curves.get(field) or () if _real(s) and _real(v)]
        if points:
            found[field] = _curve(thin(points), clock, record)
    return found


def _curve(points: Sequence[tuple[float, float]], clock: Sequence[Mapping[str, Any]], record: Record) -> Curve:
    steps = tuple(float(step) for step, _ in points)
    at = [float(line["step"]) for line in clock]
    spent = {}
    for name in SPENT:
        if clock:
            spent[name] = tuple(between(step, at, [float(line[name]) for line in clock]) for step in steps)
        elif (per_step := _per_step(record, name)) is not None:
            spent[name] = tuple(step * per_step for step in steps)
    return Curve(steps, tuple(float(value) for _, value in points), spent)


def _per_step(record: Record, name: str) -> float | None:
    """What a step spent on average, as the committed numbers tell."""
    total, steps = (
        (record.result or {}).get(_TOTALS[name]),
        (record.result or {}).get("steps", record.info.get("steps")),
    )
    return total / steps if _real(total) and _real(steps) and steps else None


def mean_of(curves: Sequence[Curve]) -> Band | None:
    """Over seeds, at the steps of the first that all have reached; None without curves."""
    if not curves:
        return None
    last = min(curve.steps[-1] for curve in curves)
    steps = tuple(step for step in curves[0].steps if step <= last)
    every = [[between(step, curve.steps, curve.values) for step in steps] for curve in curves]
    columns = list(zip(*every, strict=True))
    spent = {
        name: tuple(
            statistics.fmean(between(step, curve.steps, curve.spent[name]) for curve in curves) for step in steps
        )
        for name in SPENT
        if all(name in curve.spent for curve in curves)
    }
    mean = Curve(steps, tuple(statistics.fmean(column) for column in columns), spent)
    return Band(mean, tuple(min(column) for column in columns), tuple(max(column) for column in columns))


def between(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Linear interpolation; flat before the first and after the last of the ascending `xs`."""
    i = bisect_left(xs, x)
    if i == 0 or i == len(xs):
        return ys[min(i, len(xs) - 1)]
    share = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
    return ys[i - 1] + share * (ys[i] - ys[i - 1])


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
