"""A figure of a page: a Plotly specification whose colours are named, switches between views of it, its numbers."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lllm.report.figures.palette import soft, token
from lllm.report.html import Table, plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "CONFIG",
    "LAYOUT",
    "NARROW",
    "NO_BOX",
    "Figure",
    "Option",
    "Switch",
    "around_zero",
    "bars",
    "label",
    "lined_up",
    "numbers",
    "scatter",
    "tagged",
]

_DIGITS = 6  # significant digits of what is drawn
_LETTERS = 28  # of a name at the left
_AXIS = {
    "gridcolor": token("line"),
    "linecolor": token("line"),
    "tickcolor": token("line"),
    "zerolinecolor": token("line"),
    "zeroline": False,
    "showline": False,
    "ticks": "outside",
    "ticklen": 4,
    "automargin": True,
    "title": {"font": {"size": 13, "color": token("muted")}, "standoff": 10},
    "tickfont": {"size": 12, "color": token("muted")},
}
NO_BOX = "<extra></extra>"  # the end of a hover text: no second box with the trace's name
# What all figures of a page have in common.
LAYOUT: Mapping[str, Any] = {
    "autosize": True,
    "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": token("ink")},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "margin": {"l": 60, "r": 20, "t": 12, "b": 50},
    "hoverlabel": {
        "bgcolor": token("card"),
        "bordercolor": token("line"),
        "font": {"color": token("ink"), "size": 12},
        "align": "left",
        "namelength": -1,
    },
    "hovermode": "closest",
    "legend": {
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "xanchor": "left",
        "yanchor": "bottom",
        "font": {"size": 12, "color": token("ink")},
        "bgcolor": "rgba(0,0,0,0)",
        "itemsizing": "trace",
        "itemwidth": 30,
    },
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": token("muted"), "activecolor": token("ink")},
    "xaxis": {**_AXIS, "showgrid": False, "showline": True, "nticks": 8},
    "yaxis": {**_AXIS, "ticks": "", "ticklabelstandoff": 6, "nticks": 8},
    "dragmode": "zoom",
}
NARROW: Mapping[str, Any] = {"margin": {"l": 8, "r": 8, "t": 12, "b": 40}, "font": {"size": 11}, "xaxis": {"nticks": 5}}
CONFIG: Mapping[str, Any] = {
    "responsive": True,
    "displaylogo": False,
    "displayModeBar": "hover",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}


@dataclass(frozen=True)
class Option:
    """One view. layout: what it changes of the figure's layout."""

    key: str
    text: str
    layout: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Switch:
    """Of its options one is chosen, the first to begin with; a trace that is tagged with an option is drawn with it
    only."""

    key: str
    text: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Figure:
    """key: of the place in the page; caption: what is seen; height in pixels; numbers: what is drawn, as a table;
    title: where the section's does not say it."""

    key: str
    spec: go.Figure
    caption: str
    height: int = 380
    switches: tuple[Switch, ...] = ()
    numbers: Table | None = None
    summary: str = "Numbers"
    title: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for the page's script."""
        drawn = json.loads(self.spec.to_json())
        drawn["layout"].pop("template", None)
        return {
            "key": self.key,
            "data": drawn["data"],
            "layout": {**drawn["layout"], "height": self.height},
            "switches": [
                {"key": s.key, "options": [{"key": o.key, "layout": dict(o.layout)} for o in s.options]}
                for s in self.switches
                if s.options
            ],
        }


def label(text: str) -> str:
    """A user's words as Plotly is to show them: it reads some tags, and formulas between dollars; entities it turns
    back."""
    return html.escape(plain(text), quote=False).replace("$", "&#36;")


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """As they are drawn: rounded, gaps where there is none."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.{_DIGITS}g}") for v in values]


def tagged(**when: str) -> dict[str, Any]:
    """The `meta` of a trace that is drawn when these switches are at these options."""
    return {"when": when}


def bars(halves: Iterable[float | None], colour: str, thickness: float) -> dict[str, Any]:
    """Error bars of these half widths, none where one is not known."""
    array = numbers(half or 0 for half in halves)
    return {"type": "data", "array": array, "color": token(colour), "thickness": thickness, "width": 0}


def scatter(name: str, x: Sequence[Any], y: Sequence[Any], colour: str, **more: Any) -> go.Scatter:
    """A trace called by a user's word."""
    import plotly.graph_objects as go

    shown = label(name)
    return go.Scatter(x=x, y=y, name=shown, legendgroup=shown, **{"line": {"color": token(colour)}, **more})


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
