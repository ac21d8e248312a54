"""Differences from the baseline with their intervals, over the band within which the rule counts none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lllm.report.figures.figure import Figure, label, numbers
from lllm.report.figures.lines import around_zero, lined_up
from lllm.report.figures.palette import token
from lllm.report.gather import Report, Series
from lllm.report.html import Table

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["forest"]

_PLACE = 38  # pixels of a row
_LOOKS = {"better": ("better", "circle"), "worse": ("worse", "circle"), "inconclusive": ("muted", "circle")}
_UNDECIDED = ("muted", "circle-open")


@dataclass(frozen=True)
class _Kind:
    """An interval that is drawn thin. field: of a row's Interval; below: the first one, in heights of a row."""

    field: str
    name: str
    below: float
    symbol: str


_THIN = (
    _Kind("seeds_half", "other seeds", 0.2, "circle"),
    _Kind("documents_half", "other documents", 0.34, "diamond"),
)


def forest(report: Report) -> Figure | None:
    """None where no row has a difference."""
    import plotly.graph_objects as go

    shown = [series for series in report.series if series.row.interval is not None and not series.baseline]
    if not shown:
        return None
    comparison, rule = report.comparison, report.comparison.rule
    level = comparison.family.level if comparison.family else rule.level
    spec = go.Figure()
    for word in dict.fromkeys(series.row.verdict.word for series in shown):
        rows = [(i, series) for i, series in enumerate(shown) if series.row.verdict.word == word]
        spec.add_trace(_simultaneous(rows, word, rule.metric, level))
    for kind in _THIN:
        known = [(i, one) for i, one in enumerate(shown) if getattr(_interval(one), kind.field) is not None]
        if known:
            spec.add_trace(_thin(known, kind, rule.metric))
    around_zero(spec, rule.floor)
    title = f"difference in {label(rule.metric)} from {label(_baseline(report))}"
    lined_up(spec, [series.name for series in shown], title)
    return Figure("forest", spec, _caption(report), 130 + _PLACE * len(shown), numbers=_table(shown, rule.metric))


def _interval(series: Series) -> Any:
    return series.row.interval


def _simultaneous(rows: Sequence[tuple[int, Series]], word: str, metric: str, level: float) -> go.Scatter:
    colour, symbol = _LOOKS.get(word, _UNDECIDED)
    name = word if word in _LOOKS else "no verdict"
    halves = [_interval(series).half for _, series in rows]
    return _points(
        [(i, series) for i, series in rows],
        name,
        colour,
        halves,
        [
            _said(series, metric, f"{level:.4g} simultaneous", half)
            for (_, series), half in zip(rows, halves, strict=True)
        ],
        marker={"size": 10, "symbol": symbol, "color": token(colour), "line": {"width": 1.5, "color": token(colour)}},
        width=3,
    )


def _thin(rows: Sequence[tuple[int, Series]], kind: _Kind, metric: str) -> go.Scatter:
    """Another kind of interval, below the first."""
    halves = [getattr(_interval(series), kind.field) for _, series in rows]
    return _points(
        [(i + kind.below, series) for i, series in rows],
        kind.name,
        "muted",
        halves,
        [_said(series, metric, kind.name, half) for (_, series), half in zip(rows, halves, strict=True)],
        marker={"size": 5, "color": token("muted"), "symbol": kind.symbol},
        width=1,
    )


def _points(
    rows: Sequence[tuple[float, Series]],
    name: str,
    colour: str,
    halves: Sequence[float | None],
    said: Sequence[str],
    marker: dict[str, Any],
    width: float,
) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        x=numbers(_interval(series).difference for _, series in rows),
        y=[place for place, _ in rows],
        mode="markers",
        name=name,
        marker=marker,
        error_x={
            "type": "data",
            "array": numbers(h or 0 for h in halves),
            "color": token(colour),
            "thickness": width,
            "width": 0,
        },
        text=list(said),
        hovertemplate="%{text}<extra></extra>",
    )


def _said(series: Series, metric: str, what: str, half: float | None) -> str:
    interval = _interval(series)
    spread = "no interval" if half is None else f"± {half:.4g} ({what})"
    return f"<b>{label(series.name)}</b><br>Δ {label(metric)} {interval.difference:+.4g} {spread}, n = {interval.n}"


def _baseline(report: Report) -> str:
    return next((series.name for series in report.series if series.baseline), "the baseline")


def _caption(report: Report) -> str:
    comparison = report.comparison
    said = [
        f"Each row minus {_baseline(report)}, which is the line at zero; "
        f"{'left' if comparison.rule.better == 'lower' else 'right'} of it is better."
    ]
    if comparison.family is not None:
        said.append(
            f"Thick: simultaneous intervals at {comparison.family.level:.4g}. "
            "Thin: over other seeds, and over other documents where these are enough."
        )
    else:
        said.append("No intervals: they need two seeds that a row and the baseline have in common.")
    if comparison.rule.floor is not None:
        said.append(f"Grey band: the floor, ± {comparison.rule.floor:.4g}.")
    left_out = [s.name for s in report.series if s.row.interval is None and not s.baseline]
    if left_out:
        said.append(f"Not drawn, for there is no difference to form: {', '.join(left_out)}.")
    return " ".join(said)


def _table(shown: Sequence[Series], metric: str) -> Table:
    def cell(value: float | None, form: str = ".4g") -> str:
        return "-" if value is None else f"{value:{form}}"

    rows = []
    for series in shown:
        found = _interval(series)
        halves = [cell(value) for value in (found.half, found.seeds_half, found.documents_half, found.p)]
        rows.append([series.name, str(found.n), cell(found.difference, "+.4g"), *halves, series.row.verdict.text])
    headers = ["row", "n", f"Δ {metric}", "±", "± seeds", "± documents", "p", "verdict"]
    return Table(headers, rows, right=range(1, 7))
