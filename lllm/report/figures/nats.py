"""Where the nats are: by slot of a chunk, and by position in a document."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lllm.report.figures.figure import Figure, numbers, scatter
from lllm.report.figures.palette import token
from lllm.report.gather import Report, Series
from lllm.report.html import Table
from lllm.results.records import Record

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["by_position", "by_slot"]

Means = Mapping[int, tuple[float, float]]  # slot or position, from 1 -> mean and standard deviation over seeds


def by_slot(report: Report) -> Figure | None:
    """Mean nats per token of each slot of a chunk; None where no run with several slots has them."""
    found = {series.name: _slots(series.runs) for series in report.series}
    if not any(len(slots) > 1 for slots in found.values()):
        return None
    last = max(map(len, found.values()))
    caption = (
        "Slot k is the k-th token of a chunk. Nats per token on the validation text, means over seeds, bars one "
        "standard deviation of seeds. A model without chunks has one slot."
    )
    spec = _lines(report, found)
    spec.update_layout(
        xaxis={
            "title": {"text": "slot of the chunk"},
            "tickvals": list(range(1, last + 1)),
            "range": [0.7, last + 0.3],
        },
        yaxis={"title": {"text": "nats per token"}},
    )
    return Figure("slots", spec, caption, 360, numbers=_table(found, "slot"), title="By slot of the chunk")


def by_position(report: Report) -> Figure | None:
    """Mean nats per token by position in the document; None where no run has them."""
    found = {series.name: _positions(series.runs) for series in report.series}
    if not any(found.values()):
        return None
    caption = (
        "Position of a token in its document, in intervals that double; a point stands at the first position of its "
        "interval, counted from 1. The first intervals, and the last where documents end, hold few tokens. Nats "
        "per token, means over seeds."
    )
    spec = _lines(report, found)
    starts = sorted({start for values in found.values() for start in values})
    every = starts[:: max(1, len(starts) // 8)]
    spec.update_layout(
        xaxis={
            "title": {"text": "position in the document, tokens"},
            "type": "log",
            "tickvals": every,
            "ticktext": [f"{s:,}" for s in every],
        },
        yaxis={"title": {"text": "nats per token"}},
    )
    return Figure(
        "positions", spec, caption, 360, numbers=_table(found, "position"), title="By position in the document"
    )


def _slots(runs: Sequence[Record]) -> Means:
    every = [(record.result or {}).get("slots") or [] for record in runs]
    return _means([{i: nats for i, nats in enumerate(slots, start=1) if nats is not None} for slots in every])


def _positions(runs: Sequence[Record]) -> Means:
    every = [(record.result or {}).get("positions") or {} for record in runs]
    return _means([{int(start) + 1: nats for start, nats in places.items() if nats is not None} for places in every])


def _means(every: Sequence[Mapping[int, float]]) -> Means:
    """Of places that all runs which have any have."""
    known = [values for values in every if values]
    if not known:
        return {}
    shared = set(known[0]).intersection(*known)
    columns = {place: [values[place] for values in known] for place in sorted(shared)}
    return {
        place: (statistics.fmean(column), statistics.stdev(column) if len(column) > 1 else 0.0)
        for place, column in columns.items()
    }


def _lines(report: Report, found: Mapping[str, Means]) -> go.Figure:
    import plotly.graph_objects as go

    spec = go.Figure()
    for series in report.series:
        values = found[series.name]
        if values:
            spec.add_trace(_line(series, values))
    return spec


def _line(series: Series, values: Means) -> go.Scatter:
    colour = token(series.colour)
    return scatter(
        series.name,
        list(values),
        numbers(mean for mean, _ in values.values()),
        series.colour,
        mode="lines+markers",
        line={"color": colour, "width": 2.5 if series.baseline else 1.5, "dash": series.dash},
        marker={"size": 7, "symbol": series.symbol, "color": colour},
        error_y={
            "type": "data",
            "array": numbers(sd for _, sd in values.values()),
            "color": colour,
            "thickness": 1,
            "width": 0,
        },
        hovertemplate="<b>%{fullData.name}</b><br>%{x}: %{y:.4f} nats per token<extra></extra>",
    )


def _table(found: Mapping[str, Means], what: str) -> Table:
    places = sorted({place for values in found.values() for place in values})
    rows = [
        [name, *(f"{values[place][0]:.4f}" if place in values else "-" for place in places)]
        for name, values in found.items()
        if values
    ]
    return Table([what, *(f"{place:,}" for place in places)], rows, right=range(1, len(places) + 1))
