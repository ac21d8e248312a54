"""Searches over compositions: every trial, and those that no other beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lllm.report.figures.figure import NO_BOX, Figure, Option, Switch, label, numbers, scatter, tagged
from lllm.report.figures.front import COSTS, Cost, undominated
from lllm.report.figures.palette import token
from lllm.report.figures.trials import Search, Trial, searches
from lllm.report.gather import Report
from lllm.report.html import Table
from lllm.results.columns import si

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["search"]

_LISTED = 40  # trials in the table: the best
_NUMBER = Cost("number", "order", "number of the trial")


def search(report: Report) -> list[Figure]:
    """A figure for each search with two or more trials that have a value."""
    made = [_searched(report, one, place) for place, one in enumerate(searches(report))]
    return [figure for figure in made if figure is not None]


def _searched(report: Report, study: Search, place: int) -> Figure | None:
    import plotly.graph_objects as go

    metric, better = _aim(report, study)
    spec = go.Figure()
    options: list[Option] = []
    for cost in [*_costs(study, metric), _NUMBER]:
        known = _paid(study.trials, metric, cost)
        if len(known) < 2:
            continue
        spec.add_traces(_traces(known, cost, metric, better))
        options.append(Option(cost.key, cost.text, {"xaxis": _axis(cost, [x for _, x, _ in known])}))
    if not options:
        return None
    spec.update_layout(yaxis={"title": {"text": f"{label(metric)} of a trial"}})
    switches = (Switch("x", "against", tuple(options)),)
    best, title = _table(study, metric, better), "Search over compositions"
    return Figure(f"search-{place}", spec, _caption(study), 440, switches, best, "The best trials", title)


def _aim(report: Report, study: Search) -> tuple[str, str]:
    """What is drawn upwards, and which of it is better: the experiment's metric, where the search looked at it."""
    rule = report.comparison.rule
    if rule.metric in study.objectives or not study.objectives:
        return rule.metric, study.objectives.get(rule.metric, rule.better)
    name = next(iter(study.objectives))
    return name, study.objectives[name]


def _costs(study: Search, metric: str) -> list[Cost]:
    """The other objectives first, then what else is known of the trials."""
    known = {cost.key: cost for cost in COSTS}
    asked = [
        known.get(name) or Cost(name, name, label(name), better == "higher")
        for name, better in study.objectives.items()
        if name != metric
    ]
    return [*asked, *(cost for cost in COSTS if cost.key not in study.objectives and cost.key != metric)]


def _paid(trials: Sequence[Trial], metric: str, cost: Cost) -> list[tuple[Trial, float, float]]:
    """Trials with both values: trial, cost, metric."""
    found = ((trial, {_NUMBER.key: float(trial.number), **trial.values}) for trial in trials)
    pairs = ((trial, of.get(cost.key), of.get(metric)) for trial, of in found)
    return [(trial, x, y) for trial, x, y in pairs if x is not None and y is not None]


def _axis(cost: Cost, xs: Sequence[float]) -> dict[str, Any]:
    form = {} if cost is _NUMBER else {"tickformat": "~s"}
    kind = "log" if form and min(xs) > 0 else "linear"
    return {"title": {"text": cost.title}, "nticks": 6, "type": kind, **form}


def _traces(known: Sequence[tuple[Trial, float, float]], cost: Cost, metric: str, better: str) -> list[go.Scatter]:
    """All trials, and in front of them those that no other beats in both; in the order of trials: the best so far."""
    best = undominated([(x, y) for _, x, y in known], cost.more, better == "higher")
    rest = [i for i in range(len(known)) if i not in set(best)]
    hover = f"%{{text}}<br>{label(metric)} %{{y:.4f}}<br>{cost.title} %{{x:.4~s}}{NO_BOX}"

    def hover_text(trial: Trial) -> str:
        return "<br>".join([f"<b>trial {trial.number}</b>", *map(label, trial.typed)])

    def trace(name: str, places: Sequence[int], colour: str, **more: Any) -> go.Scatter:
        return scatter(
            name,
            numbers(known[i][1] for i in places),
            numbers(known[i][2] for i in places),
            colour,
            text=[hover_text(known[i][0]) for i in places],
            hovertemplate=hover,
            meta=tagged(x=cost.key),
            **more,
        )

    return [
        trace("trials", rest, "muted", mode="markers", marker={"size": 7, "color": token("muted"), "opacity": 0.6}),
        trace(
            "best so far" if cost is _NUMBER else "beaten by nobody",
            best,
            "c2",
            mode="lines+markers",
            line={"color": token("c2"), "width": 1.5, "dash": "dot"},
            marker={"size": 10, "color": token("c2")},
        ),
    ]


def _caption(study: Search) -> str:
    states = [trial.state for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    goals = ", ".join(f"{name} ({better})" for name, better in study.objectives.items())
    said = [f"Study {study.study}: {len(states)} trials ({counts}){f'; objectives: {goals}' if goals else ''}."]
    said.append("One point a trial, at one seed; the line joins those that no other beats in both.")
    for name, shares in study.importances.items():
        told = ", ".join(f"{path} {share:.0%}" for path, share in shares.items())
        said += [f"What decides {name}: {told}."] if told else []
    said.append("What a search found is a proposal: only a confirmation on fresh seeds decides.")
    return " ".join(said)


def _table(study: Search, metric: str, better: str) -> Table:
    sign = 1 if better == "lower" else -1
    names = [*study.objectives] or [metric, *(cost.key for cost in COSTS[:2])]

    def rank(trial: Trial) -> float:
        value = trial.values.get(metric)
        return math.inf if value is None else sign * value

    ordered = sorted(study.trials, key=lambda trial: (not trial.front, rank(trial)))
    rows = []
    for trial in ordered[:_LISTED]:
        number = f"{trial.number}{' ●' if trial.front else ''}"
        rows.append([number, *(_cell(trial.values.get(name)) for name in names), ", ".join(trial.typed), trial.outcome])
    headers = ["trial (● on the front)", *names, "settings", "state"]
    return Table(headers, rows, right=range(len(names) + 1))


def _cell(value: float | None) -> str:
    return si(value) if value is None or abs(value) >= 1000 else f"{value:.4f}"
