"""Thinned curves of runs against what was spent: from metrics.jsonl where it is here, else from the committed line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lllm.errors import UserError
from lllm.results.committed import thin
from lllm.results.files import read_metrics
from lllm.results.records import Record, real

__all__ = ["SPENT", "Band", "Curve", "curves_of", "mean_of"]

SPENT = {"bytes": "train_bytes", "flops": "train_flops", "seconds": "seconds"}  # in metrics.jsonl -> in result.json


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
    clock = [line for line in lines if all(real(line.get(name)) is not None for name in ("step", *SPENT))]
    found = {}
    for field in fields:
        logged = [(line.get("step"), line.get(field)) for line in lines]
        if points := _known(logged) or _known(record.curves.get(field) or ()):
            found[field] = _curve(thin(points), clock, record)
    return found


def _known(points: Iterable[tuple[Any, Any]]) -> list[tuple[float, float]]:
    return [(x, y) for step, value in points if (x := real(step)) is not None and (y := real(value)) is not None]


def _curve(points: Sequence[tuple[float, float]], clock: Sequence[Mapping[str, Any]], record: Record) -> Curve:
    steps, values = zip(*points, strict=True)
    at = [line["step"] for line in clock]
    last = real((record.result or {}).get("steps", record.info.get("steps")))
    spent = {}
    for name, total in SPENT.items():
        if clock:
            spent[name] = _between(steps, at, [line[name] for line in clock])
        elif last and (whole := record.number(total)) is not None:  # what a step spent on average
            spent[name] = tuple(step * (whole / last) for step in steps)
    return Curve(steps, values, spent)


def mean_of(curves: Sequence[Curve]) -> Band | None:
    """Over seeds, at the steps of the first that all have reached; None without curves."""
    if not curves:
        return None
    last = min(curve.steps[-1] for curve in curves)
    steps = tuple(step for step in curves[0].steps if step <= last)
    values = np.array([_between(steps, curve.steps, curve.values) for curve in curves])
    spent = {
        name: tuple(np.mean([_between(steps, curve.steps, curve.spent[name]) for curve in curves], 0).tolist())
        for name in SPENT
        if all(name in curve.spent for curve in curves)
    }
    mean, low, high = (tuple(of.tolist()) for of in (values.mean(0), values.min(0), values.max(0)))
    return Band(Curve(steps, mean, spent), low, high)


def _between(steps: Sequence[float], at: Sequence[float], values: Sequence[float]) -> tuple[float, ...]:
    """Linear between the ascending steps at which there are values, flat beyond."""
    return tuple(np.interp(steps, at, values).tolist())
