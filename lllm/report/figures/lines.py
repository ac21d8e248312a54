"""What figures with a line for each name have in common: names at the left, a zero line, the band of the floor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lllm.report.figures.figure import label
from lllm.report.figures.palette import soft, token

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["around_zero", "lined_up"]

_LETTERS = 28  # of a name at the left


def lined_up(spec: go.Figure, names: Sequence[str], title: str) -> None:
    """Line i of the figure is called names[i], from above; title: of the horizontal axis."""
    spec.update_layout(
        xaxis={"title": {"text": title}},
        yaxis={
            "tickvals": list(range(len(names))),
            "ticktext": [label(name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…") for name in names],
            "range": [len(names) - 0.4, -0.6],
            "showgrid": False,
            "tickfont": {"color": token("ink"), "size": 13},
        },
        margin={"l": 10},
    )


def around_zero(spec: go.Figure, floor: float | None) -> None:
    """A line where nothing differs, and the band within which no difference counts."""
    spec.add_vline(x=0, line={"color": token("ink"), "width": 1.5})
    if floor is not None:
        spec.add_vrect(-floor, floor, fillcolor=soft("muted"), line_width=0, layer="below")
