"""Where the nats are: by slot of a chunk, and by position in a document."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lllm.report.figures.figure import NO_BOX, Figure, bars, numbers, scatter
from lllm.report.figures.palette import token
from lllm.report.gather import Report
from lllm.report.html import Table
from lllm.results.records import Record

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["by_position", "by_slot"]

Means = Mapping[int, tuple[float, float]]  # slot or position, from 1 -> mean and standard deviation over seeds


def by_slot(report: Report) -> Figure | None:
    """Mean nats per token of each slot of a chunk; None where no run with several slots has them."""
    found = {series.name: _slots(series.runs) for series in report.series}
    last = max(map(len, found.values()), default=0)
    if last < 2:
        return None
    caption = (
        "Slot k is the k-th token of a chunk. Nats per token on the validation text, means over seeds, bars one "
        "standard deviation of seeds. A model without chunks has one slot."
    )
    axis = {"tickvals": list(range(1, last + 1)), "range": [0.7, last + 0.3]}
    spec = _drawn(report, found)
    spec.update_layout(xaxis={"title": {"text": "slot of the chunk"}, **axis})
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
    starts = sorted({start for values in found.values() for start in values})
    every = starts[:: max(1, len(starts) // 8)]
    axis = {"type": "log", "tickvals": every, "ticktext": [f"{start:,}" for start in every]}
    spec = _drawn(report, found)
    spec.update_layout(xaxis={"title": {"text": "position in the document, tokens"}, **axis})
    title = "By position in the document"
    return Figure("positions", spec, caption, 360, numbers=_table(found, "position"), title=title)


def _slots(runs: Sequence[Record]) -> Means:
    every = [(record.result or {}).get("slots") or [] for record in runs]
    return _means([{i: nats for i, nats in enumerate(slots, start=1) if nats is not None} for slots in every])


def _positions(runs: Sequence[Record]) -> Means:
    every = [(record.result or {}).get("positions") or {} for record in runs]
    return _means([{int(start) + 1: nats for start, nats in places.items() if nats is not None} for places in every])


def _means(every: Sequence[Mapping[int, float]]) -> Means:
    """Of places that all runs which have any have."""
    known = [values for values in every if values]
    shared = set(known[0]).intersection(*known) if known else ()
    columns = {place: [values[place] for values in known] for place in sorted(shared)}
    return {
        place: (statistics.fmean(column), statistics.stdev(column) if len(column) > 1 else 0.0)
        for place, column in columns.items()
    }


def _drawn(report: Report, found: Mapping[str, Means]) -> go.Figure:
    import plotly.graph_objects as go

    spec = go.Figure()
    for series in report.series:
        if values := found[series.name]:
            colour = token(series.colour)
            trace = scatter(
                series.name,
                list(values),
                numbers(mean for mean, _ in values.values()),
                series.colour,
                mode="lines+markers",
                line={"color": colour, "width": 2.5 if series.baseline else 1.5, "dash": series.dash},
                marker={"size": 7, "symbol": series.symbol, "color": colour},
                error_y=bars((sd for _, sd in values.values()), series.colour, 1),
                hovertemplate=f"<b>%{{fullData.name}}</b><br>%{{x}}: %{{y:.4f}} nats per token{NO_BOX}",
            )
            spec.add_trace(trace)
    spec.update_layout(yaxis={"title": {"text": "nats per token"}})
    return spec


def _table(found: Mapping[str, Means], what: str) -> Table:
    places = sorted({place for values in found.values() for place in values})
    rows = [
        [name, *(f"{values[place][0]:.4f}" if place in values else "-" for place in places)]
        for name, values in found.items()
        if values
    ]
    return Table([what, *(f"{place:,}" for place in places)], rows, right=range(1, len(places) + 1))
