"""Learning curves: loss and bits per byte against bytes, FLOPs and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from lllm.report.figures.curves import SPENT, Band, Curve, curves_of, mean_of
from lllm.report.figures.figure import NO_BOX, Figure, Option, Switch, numbers, scatter, tagged
from lllm.report.figures.palette import soft, token
from lllm.report.gather import Report, Series
from lllm.report.html import Table
from lllm.results.columns import digits, duration, si

__all__ = ["learning"]

_FIELDS = {"bpb": "validation, bits per byte", "loss": "training loss, nats per token"}
_AXES = {"bytes": "bytes trained on", "flops": "training FLOPs", "seconds": "training time, seconds"}
_TEXTS = {"bytes": "bytes", "flops": "FLOPs", "seconds": "seconds", "bpb": "bpb", "loss": "loss"}
_SETTLED = 0.08  # of a run: what comes before is above the axis at first, and a double click shows it
_MARKED = 12  # points up to which each has a marker
_LINES = (Option("mean", "mean of seeds"), Option("runs", "each run"))

Curves = Mapping[str, Sequence[Curve]]  # field -> curves of a series' runs


def learning(report: Report) -> Figure | None:
    """None where no run has a curve."""
    import plotly.graph_objects as go

    found = [(series, _curves(series)) for series in report.series]
    fields = [field for field in _FIELDS if any(curves[field] for _, curves in found)]
    known = {axis for _, curves in found for every in curves.values() for curve in every for axis in curve.spent}
    axes = [axis for axis in SPENT if axis in known]
    if not fields or not axes:
        return None
    spec = go.Figure()
    several = any(len(curves[field]) > 1 for _, curves in found for field in fields)
    for field, axis, (series, curves) in product(fields, axes, found):
        spec.add_traces(list(_traces(series, curves[field], field, axis, several)))
    spec.update_layout(hovermode="closest")
    switches = (
        Switch("y", "show", tuple(Option(f, _TEXTS[f], _vertical(f, found)) for f in fields)),
        Switch("x", "against", tuple(Option(a, _TEXTS[a], _horizontal(a)) for a in axes)),
        *([Switch("lines", "as", _LINES)] if several else []),
    )
    ends = _table(found, fields)
    return Figure("learning", spec, _caption(report, several), 440, switches, ends, "Where the curves end")


def _curves(series: Series) -> dict[str, list[Curve]]:
    every = [curves_of(record, tuple(_FIELDS)) for record in series.runs]
    return {field: [curves[field] for curves in every if field in curves] for field in _FIELDS}


def _traces(series: Series, curves: Sequence[Curve], field: str, axis: str, several: bool) -> Iterator[Any]:
    """Of one series in one view of a field against an axis: the mean and its band, and every run."""
    fitting = [curve for curve in curves if axis in curve.spent]
    whole = mean_of(fitting)
    if whole is None:
        return
    as_mean = tagged(y=field, x=axis, lines="mean") if several else tagged(y=field, x=axis)
    if len(fitting) > 1:
        yield _band(series, whole, axis, as_mean)
    yield _line(series, whole.mean, field, axis, 3 if series.baseline else 2, meta=as_mean)
    for i, curve in enumerate(fitting if several else ()):
        yield _line(series, curve, field, axis, 1.2, meta=tagged(y=field, x=axis, lines="runs"), showlegend=i == 0)


def _line(series: Series, curve: Curve, field: str, axis: str, width: float, **more: Any) -> Any:
    return scatter(
        series.name,
        numbers(curve.spent[axis]),
        numbers(curve.values),
        series.colour,
        mode="lines+markers" if len(curve.steps) <= _MARKED else "lines",
        line={"width": width, "dash": series.dash, "color": token(series.colour)},
        marker={"size": 5},
        hovertemplate=f"<b>%{{fullData.name}}</b><br>{field} %{{y:.4f}}<br>%{{x:.3s}} {_TEXTS[axis]}{NO_BOX}",
        **more,
    )


def _band(series: Series, whole: Band, axis: str, meta: Mapping[str, Any]) -> Any:
    """The area between the lowest and the highest run, hidden and shown with the series' line."""
    spent = whole.mean.spent[axis]
    return scatter(
        series.name,
        numbers([*spent, *reversed(spent)]),
        numbers([*whole.high, *reversed(whole.low)]),
        series.colour,
        mode="lines",
        line={"width": 0, "color": token(series.colour)},
        fill="toself",
        fillcolor=soft(series.colour),
        hoverinfo="skip",
        showlegend=False,
        meta=meta,
    )


def _vertical(field: str, found: Sequence[tuple[Series, Curves]]) -> dict[str, Any]:
    """The axis of a field, from the lowest value to what the curves have left behind once they settled."""
    every = [curve for _, curves in found for curve in curves[field]]
    low = min(min(curve.values) for curve in every)
    settled = ((curve, _SETTLED * curve.steps[-1]) for curve in every)
    high = max(v for curve, first in settled for s, v in zip(curve.steps, curve.values, strict=True) if s >= first)
    room = 0.05 * (high - low or 1)
    return {"yaxis": {"title": {"text": _FIELDS[field]}, "range": numbers([low - room, high + room])}}


def _horizontal(axis: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": _AXES[axis]}, "tickformat": "~s", "rangemode": "tozero"}}


def _caption(report: Report, several: bool) -> str:
    said = ["Lines are means over seeds, bands reach from the lowest to the highest seed."] if several else []
    said.append("The first steps lie above the figure: a double click shows them.")
    if any(record.path is None for series in report.series for record in series.runs):
        said.append(
            "Of runs that are known from runs.jsonl alone, curves have at most 50 points, and what was spent at each "
            "is its share of the total."
        )
    said.append("All points are in metrics.jsonl of each run, thinned ones in runs.jsonl.")
    return " ".join(said)


def _table(found: Sequence[tuple[Series, Curves]], fields: Sequence[str]) -> Table:
    rows = []
    for series, curves in found:
        ends = [mean_of(curves[field]) for field in fields]
        last = next((end for end in ends if end), None)
        spent = last.mean.spent if last else {}
        size, flops, seconds = (spent[name][-1] if name in spent else None for name in SPENT)
        values = [digits(end.mean.values[-1] if end else None) for end in ends]
        rows.append([series.name, str(len(series.runs)), *values, si(size), si(flops), duration(seconds)])
    return Table(["row", "runs", *fields, "bytes", "FLOPs", "time"], rows, right=range(1, len(fields) + 5))
