"""A study to be served by runs, and how it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lllm.launch.plan import Planned
from lllm.search.claims import Claims, finished_meanwhile
from lllm.search.verdicts import Verdict

__all__ = ["RUN", "Job", "Served"]

RUN = "run"  # user attribute of a trial: the directory of its run, below the results; written before the run begins


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
    claims: Claims = field(init=False)
    done: bool = False
    complete: list[FrozenTrial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.claims = Claims(self.job.study)

    @property
    def storage(self) -> BaseStorage:
        """What its study is kept in."""
        return self.claims.storage

    @property
    def single(self) -> bool:
        """Whether it has one objective: Optuna takes reports of such studies only."""
        return len(self.job.study.directions) == 1

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study as they are now."""
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
            self.storage.set_trial_state_values(trial, TrialState.WAITING)

    def tell(self, trial: int, number: int, verdict: Verdict) -> None:
        """Tell how a trial ended, unless another driver did."""
        with finished_meanwhile():
            if verdict.reason:
                self.storage.set_trial_user_attr(trial, verdict.attribute, verdict.reason)
            self.job.study.tell(number, verdict.values, state=verdict.state, skip_if_finished=True)

    def states(self) -> dict[str, int]:
        """State -> how many of its trials are in it."""
        own = Counter(trial.state.name.lower() for trial in self.own(self.trials()))
        return dict(sorted(own.items()))
