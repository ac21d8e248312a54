"""Differences from the baseline with their intervals, over the band within which the rule counts none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lllm.report.figures.figure import NO_BOX, Figure, around_zero, bars, label, lined_up, numbers
from lllm.report.figures.palette import token
from lllm.report.gather import Report, Series
from lllm.report.html import Table
from lllm.results.columns import digits
from lllm.results.rows import Interval

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["forest"]

_PLACE = 38  # pixels of a row
_LOOKS = {"better": ("better", "circle"), "worse": ("worse", "circle"), "inconclusive": ("muted", "circle")}
_UNDECIDED = ("muted", "circle-open")
_THIN = (  # field of an Interval, whose it is, how far below the thick one in heights of a row, symbol
    ("seeds_half", "other seeds", 0.2, "circle"),
    ("documents_half", "other documents", 0.34, "diamond"),
)

Line = tuple[float, Series, Interval]  # where it is drawn, in heights of a row from above; whose it is


def forest(report: Report) -> Figure | None:
    """None where no row has a difference."""
    import plotly.graph_objects as go

    known = [(one, one.row.interval) for one in report.series if one.row.interval is not None and not one.baseline]
    if not known:
        return None
    lines = [(i, series, interval) for i, (series, interval) in enumerate(known)]
    comparison, rule = report.comparison, report.comparison.rule
    level = comparison.family.level if comparison.family else rule.level
    spec = go.Figure()
    for word in dict.fromkeys(series.row.verdict.word for _, series, _ in lines):
        colour, symbol = _LOOKS.get(word, _UNDECIDED)
        thick = [line for line in lines if line[1].row.verdict.word == word]
        marker = {"size": 10, "symbol": symbol, "color": token(colour), "line": {"width": 1.5, "color": token(colour)}}
        trace = _points(thick, "half", f"{level:.4g} simultaneous", rule.metric, colour, 3)
        spec.add_trace(trace.update(name=word if word in _LOOKS else "no verdict", marker=marker))
    for field, name, below, symbol in _THIN:
        thin = [(i + below, series, found) for i, series, found in lines if getattr(found, field) is not None]
        if thin:
            marker = {"size": 5, "color": token("muted"), "symbol": symbol}
            spec.add_trace(_points(thin, field, name, rule.metric, "muted", 1).update(name=name, marker=marker))
    around_zero(spec, rule.floor)
    base = next((series.name for series in report.series if series.baseline), "the baseline")
    lined_up(spec, [series.name for _, series, _ in lines], f"difference in {label(rule.metric)} from {label(base)}")
    return Figure("forest", spec, _caption(report, base), 130 + _PLACE * len(lines), numbers=_table(lines, rule.metric))


def _points(lines: Sequence[Line], field: str, what: str, metric: str, colour: str, width: float) -> go.Scatter:
    """Differences with one kind of interval: of a field, and what it is over."""
    import plotly.graph_objects as go

    halves = [getattr(interval, field) for _, _, interval in lines]
    return go.Scatter(
        x=numbers(interval.difference for _, _, interval in lines),
        y=[place for place, _, _ in lines],
        mode="markers",
        error_x=bars(halves, colour, width),
        text=[_said(*line[1:], metric, what, half) for line, half in zip(lines, halves, strict=True)],
        hovertemplate=f"%{{text}}{NO_BOX}",
    )


def _said(series: Series, interval: Interval, metric: str, what: str, half: float | None) -> str:
    spread = "no interval" if half is None else f"± {half:.4g} ({what})"
    return f"<b>{label(series.name)}</b><br>Δ {label(metric)} {interval.difference:+.4g} {spread}, n = {interval.n}"


def _caption(report: Report, base: str) -> str:
    rule, family = report.comparison.rule, report.comparison.family
    side = "left" if rule.better == "lower" else "right"
    said = [f"Each row minus {base}, which is the line at zero; {side} of it is better."]
    if family is not None:
        said.append(
            f"Thick: simultaneous intervals at {family.level:.4g}. "
            "Thin: over other seeds, and over other documents where these are enough."
        )
    else:
        said.append("No intervals: they need two seeds that a row and the baseline have in common.")
    if rule.floor is not None:
        said.append(f"Grey band: the floor, ± {rule.floor:.4g}.")
    left_out = [series.name for series in report.series if series.row.interval is None and not series.baseline]
    if left_out:
        said.append(f"Not drawn, for there is no difference to form: {', '.join(left_out)}.")
    return " ".join(said)


def _table(lines: Sequence[Line], metric: str) -> Table:
    rows = []
    for _, series, found in lines:
        halves = [digits(value, ".4g") for value in (found.half, found.seeds_half, found.documents_half, found.p)]
        difference = digits(found.difference, "+.4g")
        rows.append([series.name, str(found.n), difference, *halves, series.row.verdict.text])
    headers = ["row", "n", f"Δ {metric}", "±", "± seeds", "± documents", "p", "verdict"]
    return Table(headers, rows, right=range(1, 7))
