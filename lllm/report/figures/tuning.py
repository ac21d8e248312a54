"""What tuning found: the metric against the fields that it turned, a line for each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lllm.report.figures.figure import NO_BOX, Figure, Option, Switch, label, numbers, scatter, tagged
from lllm.report.figures.palette import look, token
from lllm.report.figures.trials import RATE, Trial, tunings
from lllm.report.gather import Report
from lllm.report.html import Table
from lllm.results.columns import digits
from lllm.results.records import mapping, real

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["tuning"]

Tuned = Mapping[str, tuple[str, Sequence[Trial]]]  # name of a line -> variant and trials
Points = Sequence[tuple[float, float]]  # setting and metric, by setting


def tuning(report: Report) -> Figure | None:
    """The metric against what was turned, a line per variant; None where no trial that turned a number has a value."""
    import plotly.graph_objects as go

    rule = report.comparison.rule
    tuned = tunings(report)
    turned = dict.fromkeys(path for _, trials in tuned.values() for trial in trials for path in trial.settings)
    by_path = {path: _curves(tuned, path, rule.metric) for path in sorted(turned, key=lambda path: path != RATE)}
    if RATE not in by_path:
        by_path = {RATE: _sensitivities(report), **by_path}
    by_path = {path: curves for path, curves in by_path.items() if curves}
    if not by_path:
        return None
    looks = _looks(report, tuned)
    spec = go.Figure()
    for path, curves in by_path.items():
        for name, points in curves.items():
            spec.add_traces(_traces(name, points, path, rule.metric, looks[name], rule.better))
    options = tuple(Option(path, path, {"xaxis": _axis(path, curves)}) for path, curves in by_path.items())
    spec.update_layout(yaxis={"title": {"text": f"{label(rule.metric)} of a trial"}})
    if len(options) == 1:
        spec.update_layout(options[0].layout)
    switches = (Switch("x", "against", options),) if len(options) > 1 else ()
    numbers_of = _table(tuned, rule.metric) if tuned else _best(report)
    return Figure("tuning", spec, _caption(tuned), 380, switches, numbers_of, "Trials", "Settings")


def _curves(tuned: Tuned, path: str, metric: str) -> dict[str, Points]:
    found: dict[str, Points] = {}
    for name, (_, trials) in tuned.items():
        pairs = ((real(trial.settings.get(path)), trial.values.get(metric)) for trial in trials)
        if points := sorted((x, y) for x, y in pairs if x is not None and y is not None):
            found[name] = points
    return found


def _sensitivities(report: Report) -> dict[str, Points]:
    """What tuned rows tell of their learning rate, where the trials themselves are not here: the best, half and twice
    of it."""
    found: dict[str, Points] = {}
    for series in report.series:
        rate = real(mapping(series.runs[0].section("tuned").get("fields")).get(RATE))
        known = {float(at.removesuffix("x")): value for at, value in series.row.sensitivity.items()}
        if rate is not None and known:
            found[series.row.variant] = sorted((rate * times, value) for times, value in known.items())
    return found


def _traces(name: str, points: Points, path: str, metric: str, seen: tuple[str, str], better: str) -> list[go.Scatter]:
    """The trials, and a ring around the best. seen: colour and symbol."""
    colour, symbol = seen
    best = (min if better == "lower" else max)(points, key=lambda point: point[1])
    ink = token(colour)

    def trace(some: Points, **more: Any) -> go.Scatter:
        xs, ys = zip(*some, strict=True)
        return scatter(name, numbers(xs), numbers(ys), colour, meta=tagged(x=path), **more)

    line = trace(
        points,
        mode="lines+markers",
        line={"color": ink, "width": 1.5},
        marker={"size": 7, "symbol": symbol, "color": ink},
        hovertemplate=f"<b>%{{fullData.name}}</b><br>{label(path)} = %{{x:.4g}}<br>{label(metric)} %{{y:.4f}}{NO_BOX}",
    )
    ring = {"size": 16, "symbol": "circle-open", "color": ink, "line": {"width": 2, "color": ink}}
    return [line, trace([best], mode="markers", marker=ring, hoverinfo="skip", showlegend=False)]


def _looks(report: Report, tuned: Tuned) -> dict[str, tuple[str, str]]:
    """Colour and symbol of each line: those that its variant has in the other figures, where it is in them."""
    known = {series.row.variant: (series.colour, series.symbol) for series in reversed(report.series)}
    spare = {name: look(i)[::2] for i, name in enumerate(tuned)}
    return known | {name: seen for name, seen in spare.items() if name not in known or name != tuned[name][0]}


def _axis(path: str, curves: Mapping[str, Points]) -> dict[str, Any]:
    """Logarithmic where settings span a factor of four; marked at what was tried, where that is little."""
    xs = sorted({x for points in curves.values() for x, _ in points})
    title = "learning rate" if path == RATE else label(path)
    axis: dict[str, Any] = {"title": {"text": title}, "type": "linear"}
    if xs[0] > 0 and xs[-1] >= 4 * xs[0]:
        axis["type"] = "log"
    if len(xs) <= 12:
        axis |= {"tickvals": xs, "ticktext": [f"{x:.3g}" for x in xs]}
    return axis


def _caption(tuned: Tuned) -> str:
    if not tuned:
        return (
            "The best learning rate, half and twice of it, as tuning measured them; the trials themselves are not "
            "here. The best of each variant is ringed."
        )
    counts = {name: len(trials) for name, (_, trials) in tuned.items()}
    same = len(set(counts.values())) == 1
    told = f"{counts.popitem()[1]} for each" if same else ", ".join(f"{name} {n}" for name, n in counts.items())
    return (
        f"One trial a point, the best of each variant ringed. Trials: {told}. A trial is one run at one seed: its "
        "value chooses settings and decides nothing."
    )


def _table(tuned: Tuned, metric: str) -> Table:
    rows = [
        [name, str(trial.number), ", ".join(trial.typed), digits(trial.values.get(metric)), trial.outcome]
        for name, (_, trials) in tuned.items()
        for trial in trials
    ]
    return Table(["variant", "trial", "settings", metric, "state"], rows, right=(1, 3))


def _best(report: Report) -> Table:
    """What tuned rows say of themselves."""
    rows = []
    for series in report.series:
        if trials := series.row.trials:
            fields = mapping(series.runs[0].section("tuned").get("fields")).items()
            settings = ", ".join(f"{path}={value}" for path, value in fields)
            around = ", ".join(f"{at}: {value:.4f}" for at, value in series.row.sensitivity.items())
            rows.append([series.name, str(trials), settings, around])
    return Table(["row", "trials", "settings chosen", "at times the learning rate"], rows, right=(1,))
