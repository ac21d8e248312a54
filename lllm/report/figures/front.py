"""What quality costs: rows against training FLOPs, generation speed, time and size, and who is beaten by nobody."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lllm.report.figures.figure import NO_BOX, Figure, Option, Switch, label, numbers, scatter, tagged
from lllm.report.figures.palette import token
from lllm.report.gather import Report, Series
from lllm.report.html import Table
from lllm.results.columns import digits, si

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["COSTS", "Cost", "front", "undominated"]

_NAMED = 8  # rows beyond which names are in the legend and the hover only


@dataclass(frozen=True)
class Cost:
    """A number of a result that is paid, or gained where `more` is better."""

    key: str
    text: str
    title: str
    more: bool = False


COSTS = (
    Cost("train_flops_per_byte", "FLOPs per byte", "training FLOPs per byte of text"),
    Cost("train_flops", "FLOPs", "training FLOPs"),
    Cost("generation_bytes_per_second", "generation", "generation, bytes per second", more=True),
    Cost("seconds", "training time", "training time, seconds"),
    Cost("parameters", "parameters", "parameters"),
)


def front(report: Report) -> Figure | None:
    """None where fewer than two rows have a value of the metric and a cost."""
    import plotly.graph_objects as go

    rule = report.comparison.rule
    found = {cost: _points(report.series, rule.metric, cost) for cost in COSTS}
    costs = [cost for cost, points in found.items() if len(points) > 1 and len({x for _, x, _ in points}) > 1]
    if not costs:
        return None
    spec = go.Figure()
    best: dict[str, set[str]] = {}
    for cost in costs:
        points = found[cost]
        unbeaten = [points[i] for i in undominated([(x, y) for _, x, y in points], cost.more, rule.better == "higher")]
        best[cost.key] = {series.name for series, _, _ in unbeaten}
        line = go.Scatter(
            x=numbers(x for _, x, _ in unbeaten),
            y=numbers(y for _, _, y in unbeaten),
            mode="lines",
            line={"color": token("muted"), "width": 1.5, "dash": "dot"},
            name="beaten by nobody",
            hoverinfo="skip",
            meta=tagged(x=cost.key),
        )
        spec.add_trace(line)
        for series, x, y in points:
            spec.add_trace(_point(series, x, y, cost, rule.metric, len(points) <= _NAMED))
            spec.add_trace(_seeds(series, cost, rule.metric))
    options = tuple(Option(cost.key, cost.text, {"xaxis": {"title": {"text": cost.title}}}) for cost in costs)
    spec.update_layout(
        xaxis={"tickformat": "~s", "type": "log", "nticks": 6},
        yaxis={"title": {"text": "bits per byte" if rule.metric == "bpb" else label(rule.metric)}},
        showlegend=len(report.series) > _NAMED,
    )
    caption = (
        "Large points are means over seeds, small ones the seeds. The line joins the rows that no other row beats in "
        "both. Rows of different budgets or kinds of likelihood are drawn together; verdicts say which compare."
    )
    return Figure("front", spec, caption, 440, (Switch("x", "against", options),), _table(report, costs, best))


def undominated(points: Sequence[tuple[float, float]], more: bool, higher: bool) -> list[int]:
    """Places of the points that no other beats, by cost: less of the first is better (more, where `more`), and less of
    the second (more, where `higher`). Of equal ones the first."""
    cost = -1.0 if more else 1.0
    value = -1.0 if higher else 1.0
    order = sorted(range(len(points)), key=lambda i: (cost * points[i][0], value * points[i][1], i))
    best: list[int] = []
    for i in order:
        if not best or value * points[i][1] < value * points[best[-1]][1]:
            best.append(i)
    return best


def _points(every: Sequence[Series], metric: str, cost: Cost) -> list[tuple[Series, float, float]]:
    """Series, cost and metric, of those that have both."""
    found = ((series, series.row.numbers.get(cost.key), _mean(series, metric)) for series in every)
    return [(series, paid, mean) for series, paid, mean in found if paid is not None and paid > 0 and mean is not None]


def _mean(series: Series, metric: str) -> float | None:
    values = [value for record in series.runs if (value := record.value(metric)) is not None]
    return statistics.fmean(values) if values else None


def _point(series: Series, x: float, y: float, cost: Cost, metric: str, named: bool) -> go.Scatter:
    more: dict[str, Any] = {"text": [label(series.name)], "textposition": "top center"} if named else {}
    return scatter(
        series.name,
        numbers([x]),
        numbers([y]),
        series.colour,
        mode="markers+text" if named else "markers",
        marker={"size": 12, "symbol": series.symbol, "color": token(series.colour)},
        textfont={"color": token("ink"), "size": 12},
        hovertemplate=f"<b>%{{fullData.name}}</b><br>{label(metric)} %{{y:.4f}}<br>{cost.title} %{{x:.3s}}{NO_BOX}",
        meta=tagged(x=cost.key),
        cliponaxis=False,
        **more,
    )


def _seeds(series: Series, cost: Cost, metric: str) -> go.Scatter:
    pairs = [(record.value(cost.key), record.value(metric)) for record in series.runs]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    return scatter(
        series.name,
        numbers(x for x, _ in known),
        numbers(y for _, y in known),
        series.colour,
        mode="markers",
        marker={"size": 5, "color": token(series.colour), "opacity": 0.45},
        hoverinfo="skip",
        showlegend=False,
        meta=tagged(x=cost.key),
    )


def _table(report: Report, costs: Sequence[Cost], best: Mapping[str, set[str]]) -> Table:
    """best: key of a cost -> rows on the front."""
    metric = report.comparison.rule.metric
    rows = []
    for series in report.series:
        paid = [si(series.row.numbers.get(cost.key)) + " ●" * (series.name in best[cost.key]) for cost in costs]
        rows.append([series.name, digits(_mean(series, metric)), *paid])
    first, *others = (cost.text for cost in costs)
    headers = ["row", metric, f"{first} (● on the front)", *others]
    return Table(headers, rows, right=range(1, len(headers)))
