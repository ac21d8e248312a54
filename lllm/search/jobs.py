"""A study to be served by runs, how it stands, and what becomes of a trial, as the files of its run say it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
from optuna.pruners import MedianPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lllm.errors import UserError
from lllm.launch.plan import Planned
from lllm.results.ownership import Owned, own
from lllm.results.run import Run
from lllm.search.claims import Claims, finished_meanwhile

__all__ = ["RUN", "Curve", "Job", "Served", "Verdict", "below_median", "mark_pruned", "verdict_of"]

RUN = "run"  # user attribute of a trial: the directory of its run, below the results; written before the run begins
REPORTS = 20  # of a run's values, at most, go to the study: each is a transaction, and a curve needs no more


@dataclass(frozen=True)
class Job:
    """A study to be served.

    target: how many trials it is to have in all, finished in any way. propose: suggests a new trial's parameters and
    decides its run; a UserError or BuildError says that they are infeasible, and the trial is told as pruned, with the
    reason in its attribute `infeasible`. values: from result.json to the objectives' values; a UserError says that it
    has none, and the trial is told as failed. replan: the run again, of a trial that a dead driver left. prune_after:
    complete trials from which on a curve worse than their median is pruned, None: never. watch: the field of
    metrics.jsonl that is reported, of a study with one objective, and whose divergence ends a trial at any time.
    """

    study: optuna.Study
    target: int
    propose: Callable[[optuna.Trial], Planned]
    values: Callable[[Mapping[str, Any]], Sequence[float]]
    replan: Callable[[FrozenTrial], Planned]
    prune_after: int | None = None
    watch: str = "bpb"


@dataclass
class Served:
    """A job while a driver serves it. done: all of its trials are finished; complete: trials that were so when it was
    last looked at, which is after each end of a run of this driver."""

    job: Job
    claims: Claims
    done: bool = False
    complete: list[FrozenTrial] = field(default_factory=list)

    def trials(self) -> list[FrozenTrial]:
        found = self.job.study.get_trials(deepcopy=False)
        self.complete = [trial for trial in found if trial.state is TrialState.COMPLETE]
        return found

    def own(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those that count towards the target."""
        return [trial for trial in trials if trial.number < self.job.target]

    def begun(self, trials: Sequence[FrozenTrial]) -> float:
        """The share of its trials that somebody has asked for."""
        asked = sum(trial.state is not TrialState.WAITING for trial in self.own(trials))
        return asked / max(1, self.job.target)

    def room(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether there is one to ask for."""
        own = self.own(trials)
        return len(own) < self.job.target or any(trial.state is TrialState.WAITING for trial in own)

    def left(self, trials: Sequence[FrozenTrial], mine: Sequence[int]) -> Iterator[FrozenTrial]:
        """Those that no living driver serves, and that this one may: begun ones beyond its target are another's."""
        may = [trial for trial in trials if trial.number < self.job.target or RUN not in trial.user_attrs]
        return self.claims.left(may, mine)

    def put_back(self, trial: int) -> None:
        """Put one that is beyond the target in the queue, from which a larger target takes it."""
        with finished_meanwhile():
            self.claims.storage.set_trial_state_values(trial, TrialState.WAITING)

    def tell(self, trial: int, number: int, verdict: Verdict) -> None:
        """Tell how a trial ended, unless another driver did."""
        with finished_meanwhile():
            if verdict.reason:
                self.claims.storage.set_trial_user_attr(trial, verdict.attribute, verdict.reason)
            self.job.study.tell(number, verdict.values, state=verdict.state, skip_if_finished=True)

    def states(self) -> dict[str, int]:
        own = Counter(trial.state.name.lower() for trial in self.own(self.trials()))
        return dict(sorted(own.items()))


@dataclass(frozen=True)
class Verdict:
    """What a study is told of a trial. values: of one that is complete; reason: of one that is not, kept in the user
    attribute of that name."""

    state: TrialState
    values: tuple[float, ...] | None = None
    reason: str = ""
    attribute: str = "reason"


def verdict_of(path: Path, study: str, values: Callable[[Mapping[str, Any]], Sequence[float]]) -> Verdict | None:
    """What the run at `path` has come to, None while it has not ended. What another study pruned has not: its rule is
    not this one's. values: from result.json to the objectives' values."""
    run = Run(path)
    result = run.result
    if result is not None:
        return _complete(result, values)
    status = run.status or {}
    match run.state:
        case "failed" | "diverged" as ended:
            state = TrialState.PRUNED if ended == "diverged" else TrialState.FAIL
            return Verdict(state, reason=str(status.get("reason", "")))
        case "pruned" if status.get("study") == study:
            return Verdict(TrialState.PRUNED, reason=str(status.get("rule", "")))
    return None


def mark_pruned(path: Path, rule: str, study: str) -> None:
    """Leave the run as pruned by that rule of that study, unless another process has taken it over meanwhile."""
    with suppress(Owned), own(path) as ownership:
        ownership.end("pruned", rule=rule, study=study)


def _complete(result: Mapping[str, Any], values: Callable[[Mapping[str, Any]], Sequence[float]]) -> Verdict:
    try:
        found = tuple(float(value) for value in values(result))
    except UserError as error:
        return Verdict(TrialState.FAIL, reason=str(error))
    if not all(map(math.isfinite, found)):
        return Verdict(TrialState.FAIL, reason=f"its values are {', '.join(map(str, found))}; expected finite numbers")
    return Verdict(TrialState.COMPLETE, found)


class Curve:
    """The values of one field over a run of so many steps. reported: steps whose value the study has already."""

    def __init__(self, field: str, steps: int, reported: Iterable[int] = ()) -> None:
        self.field, self.steps = field, max(1, steps)
        self._last = max(reported, default=0)
        self._finite = self._last > 0

    def rule(self, record: Mapping[str, Any]) -> str:
        """Why the run is not to go on, seeing this record; '': no reason."""
        value = self._value(record)
        if value is None:
            return ""
        if math.isfinite(value):
            self._finite = True
            return ""
        return f"diverged: {self.field} is not finite at step {record['step']}" if self._finite else ""

    def due(self, record: Mapping[str, Any]) -> tuple[int, float] | None:
        """Step and value, where the study is to have them. The same steps of all runs that are equally long."""
        step, value = int(record["step"]), self._value(record)
        if value is None or not math.isfinite(value):
            return None
        if step * REPORTS // self.steps <= self._last * REPORTS // self.steps and self._last:
            return None
        self._last = step
        return step, value

    def _value(self, record: Mapping[str, Any]) -> float | None:
        """The field in the record or in its metrics; what is not finite is null in a file."""
        metrics = record.get("metrics")
        for held in (record, metrics if isinstance(metrics, Mapping) else {}):
            if self.field in held:
                value = held[self.field]
                return float(value) if isinstance(value, int | float) else math.nan
        return None


def below_median(trial: FrozenTrial, complete: Sequence[FrozenTrial], direction: StudyDirection, after: int) -> str:
    """The rule by which the trial is to be pruned: the best that it has reported is worse than the median of its
    study's complete trials at the same step, `after` of them or more. '': it is not, or there are fewer."""
    # what the pruner asks of a study, from what is known already: asking the storage at each report is dear
    seen = cast(optuna.Study, SimpleNamespace(direction=direction, get_trials=lambda **_: list(complete)))
    if not MedianPruner(n_startup_trials=after).prune(seen, trial):
        return ""
    return f"worse than the median of this study's trials at step {trial.last_step}"
