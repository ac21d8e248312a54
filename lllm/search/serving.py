"""What a driver does in a turn of its loop: start what there is room for, hear what is new, tell how it ended."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lllm.errors import BuildError, UserError
from lllm.launch.execute import Watcher
from lllm.launch.plan import Planned
from lllm.launch.pool import News, Pool
from lllm.launch.workers import Worker
from lllm.results.files import read_metrics
from lllm.results.ownership import Owned
from lllm.search.claims import Claims, finished_meanwhile
from lllm.search.jobs import RUN, Curve, Job, Served, Verdict, below_median, mark_pruned, verdict_of
from lllm.search.urls import StorageError
from lllm.train.mirror import check_mirror

__all__ = ["Server"]

LOOK = 2.0  # seconds between looks at the studies while there is nothing to start
LIVES = 3  # times that one driver starts a run that is killed, or crashes without a word, before it counts as failed
REFUSALS = 2  # the same, of one that says what is wrong: that another process looked at it at that moment will pass
_WORDS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}  # for a watcher


@dataclass
class _Live:
    """A trial whose run is there. trial: as it was when this driver took it, with the values reported since; rule: by
    which it is being pruned; lives: how often its process was started."""

    served: Served
    trial: FrozenTrial
    run: Planned
    curve: Curve
    rule: str = ""
    lives: int = 1


@dataclass
class Server:
    """Serves studies with the processes of a pool."""

    pool: Pool
    watcher: Watcher
    studies: dict[str, Served] = field(default_factory=dict)
    _live: dict[Worker, _Live] = field(default_factory=dict)
    _look_at: float = 0.0  # when the studies are to be looked at next
    _beat_at: float = 0.0

    def add(self, jobs: Sequence[Job]) -> None:
        """Serve these too; one of a study that is served already takes its place, and what is known of claims stays."""
        for job in jobs:
            served = self.studies.get(job.study.study_name)
            if served is None:
                self.studies[job.study.study_name] = Served(job, Claims(job.study))
            else:
                served.job, served.done = job, False
        self._look_at = 0.0

    def close(self) -> None:
        for served in self.studies.values():
            served.claims.close()

    @property
    def done(self) -> bool:
        """Whether all trials of all studies are finished."""
        return not self._live and all(served.done for served in self.studies.values())

    def beat(self) -> None:
        """Say now and then, for each of the running trials, that it is served."""
        if time.monotonic() >= self._beat_at:
            for live in self._live.values():
                live.served.claims.beat(live.trial._trial_id)
            pauses = [served.claims.interval for served in self.studies.values()]
            self._beat_at = time.monotonic() + min(pauses, default=LOOK)

    def fill(self) -> bool:
        """Start one trial, or tell it, where there is a free process; whether there was one to start."""
        if not self.pool.free or time.monotonic() < self._look_at:
            return False
        seen = [(served, served.trials()) for served in self.studies.values() if not served.done]
        mine = [live.trial._trial_id for live in self._live.values()]
        for served, trials in seen:
            if any(self._take_over(served, trial) for trial in served.left(trials, mine)):
                return True
        for served, trials in sorted(seen, key=lambda one: one[0].begun(one[1])):
            if served.room(trials):
                self._ask(served)
                return True
            served.done = all(trial.state.is_finished() for trial in served.own(trials))
        self._look_at = time.monotonic() + LOOK
        return False

    def hear(self, news: News) -> None:
        live = self._live[news.worker]
        for record in news.records:
            self.watcher.record(live.run, record)
            rule = live.curve.rule(record) or (self._median(live) if self._report(live, record) else "")
            if rule and not live.rule and record["step"] < live.curve.steps:  # at its end it is of use as it is
                live.rule = rule
                news.worker.stop()
        if news.ended is not None:
            del self._live[news.worker]
            self._look_at = 0.0
            self._ended(live, news.worker, *news.ended)

    def _ask(self, served: Served) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Heartbeat of storage")  # this loop beats
            trial = served.job.study.ask()
        if trial.number >= served.job.target:  # another driver asked at the same moment
            served.put_back(trial._trial_id)
            return
        served.claims.note(trial._trial_id)
        self._propose(served, trial)

    def _take_over(self, served: Served, left: FrozenTrial) -> bool:
        """Go on with a trial that nobody serves; False when another driver was faster."""
        trial = served.claims.take(left)
        if trial is None:
            return False
        if RUN in trial.user_attrs:
            self._begin(served, trial, served.job.replan(trial))
        elif trial.number >= served.job.target:
            served.put_back(trial._trial_id)
        else:  # what was suggested of it already stays as it is
            self._propose(served, optuna.Trial(served.job.study, trial._trial_id))
        return True

    def _propose(self, served: Served, trial: optuna.Trial) -> None:
        with finished_meanwhile():
            try:
                run = served.job.propose(trial)
            except (UserError, BuildError) as error:
                if _of_the_place(error):
                    raise
                infeasible = Verdict(TrialState.PRUNED, reason=str(error), attribute="infeasible")
                served.tell(trial._trial_id, trial.number, infeasible)
                return
            place = os.path.relpath(run.path, self.pool.plan.results)
            for name, value in {"arm": run.arm.identity, "seed": run.seed, RUN: place}.items():
                trial.set_user_attr(name, value)
            self._begin(served, served.claims.storage.get_trial(trial._trial_id), run)

    def _begin(self, served: Served, trial: FrozenTrial, run: Planned) -> None:
        check_mirror(run.arm.resolved.run.wandb)
        curve = Curve(served.job.watch, run.arm.steps or 1, trial.intermediate_values)
        live = _Live(served, trial, run, curve)
        if run.todo != "train anew":
            with suppress(UserError):  # a damaged line is cut off by the run itself, or it says so
                for record in read_metrics(run.path / "metrics.jsonl"):
                    self._report(live, record)
            if self._told(live):
                return
        self._start(live)

    def _start(self, live: _Live) -> None:
        if any(other.run.path == live.run.path for other in self._live.values()):
            self._leave(live, "another trial of this sweep is the same run")
            return
        try:
            worker = self.pool.start(live.run)
        except Owned as owned:  # by a process that ends in a moment, another driver, or `lllm run`
            self._leave(live, str(owned))
            return
        except (UserError, BuildError) as error:
            if _of_the_place(error):
                raise
            self._end(live, Verdict(TrialState.FAIL, reason=str(error)))
            return
        if worker is None:
            self._told(live)
            return
        live.curve.steps = worker.steps
        self._live[worker] = live
        self.watcher.started(live.run, worker.steps)

    def _report(self, live: _Live, record: Mapping[str, Any]) -> bool:
        """Tell the study of the value that it is due, if it is."""
        due = live.curve.due(record)
        if due is None or len(live.served.job.study.directions) > 1:  # of which Optuna takes no reports
            return False
        live.trial.intermediate_values[due[0]] = due[1]
        with finished_meanwhile():
            live.served.claims.storage.set_trial_intermediate_value(live.trial._trial_id, *due)
        return True

    def _median(self, live: _Live) -> str:
        """The rule by which its study prunes the trial, or ''."""
        job = live.served.job
        if job.prune_after is None:
            return ""
        return below_median(live.trial, live.served.complete, job.study.direction, job.prune_after)

    def _ended(self, live: _Live, worker: Worker, state: str, message: str) -> None:
        if self._told(live):
            return
        if state == "running":
            self._leave(live, message)
        elif live.rule:
            mark_pruned(live.run.path, live.rule, live.served.job.study.study_name)
            self._end(live, Verdict(TrialState.PRUNED, reason=live.rule))
        elif state == "interrupted":  # asked to, with the driver: the trial is left for the next one
            self.watcher.ended(live.run, state, message)
        elif live.lives < (LIVES if worker.lost else REFUSALS):
            self.watcher.ended(live.run, "interrupted", f"{message}; it is continued")
            self._start(replace(live, run=replace(live.run, todo="continue"), lives=live.lives + 1))
        else:
            self._end(live, Verdict(TrialState.FAIL, reason=message))

    def _leave(self, live: _Live, message: str) -> None:
        """Leave it to the process that trains the run; it is looked at again."""
        if live.served.claims.postpone(live.trial._trial_id):
            self.watcher.ended(live.run, "running", message)

    def _told(self, live: _Live) -> bool:
        """Tell what the files of the run say, if they say how it ended."""
        job = live.served.job
        verdict = verdict_of(live.run.path, job.study.study_name, job.values)
        if verdict is not None:
            self._end(live, verdict)
        return verdict is not None

    def _end(self, live: _Live, verdict: Verdict) -> None:
        live.served.tell(live.trial._trial_id, live.trial.number, verdict)
        self.watcher.ended(live.run, _WORDS[verdict.state], verdict.reason)


def _of_the_place(error: Exception) -> bool:
    """Whether the storage or the disk is at fault, and not the trial."""
    return isinstance(error, StorageError) or isinstance(error.__cause__, OSError)
