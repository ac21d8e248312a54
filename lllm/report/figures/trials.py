"""Trials of sweeps as plain values: from the runs that were made for them, and from the table that a search wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lllm.errors import UserError
from lllm.report.gather import Report, Series
from lllm.results.records import Record, flatten
from lllm.results.rows import NUMBERS

__all__ = ["RATE", "Search", "Trial", "searches", "tunings"]

RATE = "train.lr"


@dataclass(frozen=True)
class Trial:
    """settings: what it turned, by dotted path; values: its numbers by name; front: whether no other trial of its
    search beats it in all objectives."""

    number: int
    state: str
    reason: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    front: bool = False

    @property
    def outcome(self) -> str:
        """Its state and why."""
        return f"{self.state}: {self.reason}" if self.reason else self.state

    @property
    def typed(self) -> list[str]:
        """Its settings, as they would be typed."""
        return [
            f"{path.removesuffix('.use')}={f'{value:.4g}' if isinstance(value, float) else value}"
            for path, value in self.settings.items()
        ]


@dataclass(frozen=True)
class Search:
    """A study over compositions. objectives: name -> 'lower' or 'higher'; importances: objective -> parameter -> share,
    empty where they are not known."""

    study: str
    trials: tuple[Trial, ...]
    objectives: Mapping[str, str] = field(default_factory=dict)
    importances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def tunings(report: Report) -> dict[str, tuple[str, list[Trial]]]:
    """Name of a line -> the variant, and the trials that tuned it; of studies called EXPERIMENT/VARIANT/NAME."""
    by_study: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in report.trials:
        if _tunes(record):
            by_study[record.variant, _study(record)].append(record)
    metric, variants = report.comparison.rule.metric, [variant for variant, _ in by_study]
    found = {} if by_study else _recorded(report.series, metric)
    for (variant, study), records in sorted(by_study.items()):
        last = study.rpartition("/")[2]
        name = variant if variants.count(variant) == 1 else f"{variant} ({last})"
        found[name] = (variant, _trials(records, metric))
    return found


def _recorded(every: Sequence[Series], metric: str) -> dict[str, tuple[str, list[Trial]]]:
    """The same where the trials' runs are not here, from what the tuned runs record of them."""
    found = {}
    for series in every:
        trials = []
        for line in series.runs[0].section("tuned").get("tried") or ():
            values = {metric: float(line["value"])} if line.get("value") is not None else {}
            state, fields = "finished" if values else "no value", dict(line.get("fields") or {})
            trials.append(Trial(_number(line.get("trial")), state, settings=fields, values=values))
        if trials:
            found[series.name] = (series.row.variant, trials)
    return found


def searches(report: Report) -> list[Search]:
    """Every study over compositions: those whose tables were written, completed by runs that are here, and others of
    which only runs are here."""
    by_study: dict[str, list[Record]] = defaultdict(list)
    for record in report.trials:
        if not _tunes(record):
            by_study[_study(record)].append(record)
    found = {
        study: Search(study, tuple(_trials(some, report.comparison.rule.metric))) for study, some in by_study.items()
    }
    for written in map(_written, report.pareto):  # whose trials lack what is in their runs beside the objectives
        here = {trial.number: trial.values for trial in found[written.study].trials} if written.study in found else {}
        trials = (replace(one, values={**here.get(one.number, {}), **one.values}) for one in written.trials)
        found[written.study] = replace(written, trials=tuple(trials))
    return [found[study] for study in sorted(found)]


def _tunes(record: Record) -> bool:
    return _study(record).startswith(f"{record.experiment}/{record.variant}/")


def _study(record: Record) -> str:
    return str(record.info["trial"].get("study"))


def _trials(records: Sequence[Record], metric: str) -> list[Trial]:
    """With the settings at which they differ, the learning rate first."""
    flat = [flatten(record.config) | dict(record.info["trial"].get("fields") or {}) for record in records]
    paths = sorted({path for tree in flat for path in tree} - {"seed"}, key=lambda path: (path != RATE, path))
    turned = [path for path in paths if len({repr(tree.get(path)) for tree in flat}) > 1]
    made = []
    for record, tree in zip(records, flat, strict=True):
        values = {name: record.value(name) for name in dict.fromkeys((metric, *NUMBERS))}
        known = {name: value for name, value in values.items() if value is not None}
        settings = {path: tree[path] for path in turned if path in tree}
        made.append(Trial(_number(record.info["trial"].get("number")), record.state, record.reason, settings, known))
    return sorted(made, key=lambda trial: trial.number)


def _written(pareto: Mapping[str, Any]) -> Search:
    """pareto.json; what it lacks is empty."""
    try:
        objectives = {str(one["name"]): str(one["better"]) for one in pareto.get("objectives") or ()}
        trials = [
            Trial(
                number=_number(trial.get("number")),
                state=str(trial.get("state")),
                reason=str(trial.get("reason") or ""),
                settings=dict(trial.get("params") or {}),
                values=dict(zip(objectives, trial.get("values") or (), strict=False)),
                front=bool(trial.get("front")),
            )
            for trial in pareto.get("trials") or ()
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"pareto.json: not what a search writes ({error}); the file is damaged") from None
    return Search(str(pareto.get("study")), tuple(trials), objectives, pareto.get("importances") or {})


def _number(value: Any) -> int:
    return value if isinstance(value, int) else -1
