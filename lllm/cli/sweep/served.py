"""What both kinds of sweep have in common on the command line: what is asked, how trials are served, confirmation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from optuna.storages import RDBStorage

from lllm.cli.live import watcher
from lllm.cli.named import plugin_words
from lllm.cli.output import print_table
from lllm.cli.plan import plan_facts, print_plan
from lllm.cli.run import again, arms_of, resumable, train
from lllm.config import Experiment
from lllm.errors import UserError
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan, Planned
from lllm.results.named import check_name
from lllm.results.run import check_writable
from lllm.results.table import duration
from lllm.search.driver import Job, drive
from lllm.search.storage import check_storage, open_storage
from lllm.search.studies import standing
from lllm.search.trials import search_seed
from lllm.search.urls import is_file, parsed_url, shown

__all__ = ["Sweep", "assigned", "confirm", "prepare", "print_status", "served"]


@dataclass(frozen=True)
class Sweep:
    """What is asked for. words: of the command line, plugins included; named: variants that were named, in order;
    seed: of all trials; name: what --as calls it, None for the usual name."""

    experiment: Experiment
    arms: Arms
    variants: tuple[str, ...]
    named: tuple[str, ...]
    words: tuple[str, ...]
    plugins: tuple[str, ...]
    results: Path
    workers: int
    storage: str | None
    timeout: float | None
    name: str | None
    trials: int
    seed: int

    def open(self) -> RDBStorage:
        """The storage of its studies."""
        return open_storage(self.storage, self.results, self.experiment.name)

    def look(self, closely: bool) -> None:
        """Look at the URL of the storage, and, closely, whether it could be opened; nothing is made. Raises UserError
        where it cannot be used."""
        if closely:
            check_storage(self.storage, self.results, self.experiment.name)
        elif self.storage is not None:
            shown(self.storage)

    @property
    def storage_said(self) -> str:
        """The storage without a password."""
        if self.storage is None:
            return str(self.results / self.experiment.name / "sweep.db")
        return shown(self.storage)


def prepare(
    name: str,
    words: Sequence[str],
    plugins: Sequence[Path],
    workers: int | None,
    storage: str | None,
    timeout: float | None,
    label: str | None,
    trials: int,
) -> Sweep:
    """Read the experiment and the command line; nothing is prepared or written yet."""
    arms, variants = arms_of(name, words, plugins, {"workers": workers})
    execution = arms.resolved(variants[0]).run
    return Sweep(
        arms.experiment,
        arms,
        variants,
        tuple(word for word in words if "=" not in word),
        (*(word for word in words if "=" in word), *plugin_words(plugins)),
        tuple(str(path.resolve()) for path in plugins),
        Path(execution.results),
        execution.workers,
        storage,
        timeout,
        None if label is None else check_name(label),
        trials,
        search_seed(arms.experiment),
    )


def served(
    asked: Sweep,
    found: dict[str, Any],
    jobs: Sequence[Job],
    total: Callable[[], int],
    more: Callable[[], Sequence[Job]] = lambda: (),
) -> bool:
    """Let the driver serve the jobs, watched; False, and said, when the time was up first. found: what a script is to
    have; total: trials that there are to be in all, as far as is known.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    check_writable(asked.results)
    sys.stdout.flush()
    plan = Plan(asked.experiment, (), asked.results, asked.plugins)
    ended = sum(trial.state.is_finished() for job in jobs for trial in job.study.get_trials(deepcopy=False))
    with resumable(), watcher(plan) as inner:
        watching = _Trials(inner, total, ended)
        outcome = drive(jobs, workers=asked.workers, plan=plan, watcher=watching, timeout=asked.timeout, more=more)
    found["driver"] = {"seconds": outcome.seconds, "cpu_seconds": outcome.cpu_seconds}
    if outcome.late:
        found["complete"] = False
        print(f"the time is up; everything is saved, and nothing is confirmed yet. To continue: {again()}")
    return not outcome.late


@dataclass
class _Trials:
    """Shows trials as runs are shown, under their studies' numbers, and counts them."""

    inner: Any
    total: Callable[[], int]
    ended_trials: int
    began: float = field(default_factory=time.monotonic)
    mine: int = 0

    def started(self, run: Planned, steps: int) -> None:
        self.inner.started(_shown(run), steps)

    def record(self, run: Planned, record: Mapping[str, Any]) -> None:
        self.inner.record(_shown(run), record)

    def ended(self, run: Planned, state: str, message: str = "") -> None:
        shown = _shown(run)
        known = self.inner.progress.get(shown.name)
        if known is None:  # told from its files
            self.inner.say(f"{shown.name}: {state}" + (f": {message}" if message else ""))
        else:
            self.inner.ended(shown, state, message)
            del self.inner.progress[shown.name]  # a table has room for what is under way
        if state in ("finished", "pruned", "failed"):
            self.ended_trials += 1
            self.mine += known is not None
            self.inner.say(f"{self.ended_trials} of {self.total()} trials{self._left()}")

    def _left(self) -> str:
        left = self.total() - self.ended_trials
        if not self.mine or left <= 0:
            return ""
        return f", about {duration((time.monotonic() - self.began) / self.mine * left)} left"


def _shown(run: Planned) -> Any:
    """A trial as the live table knows runs: VARIANT/tNUMBER."""
    return SimpleNamespace(name=f"{run.arm.variant}/t{run.extra['trial']['number']}", todo=run.todo)


def confirm(plan: Plan, found: dict[str, Any]) -> bool:
    """Print the plan of a confirmation and train it; False when something has failed. Raises as `execute` does."""
    facts = plan_facts(plan)
    found["confirmation"] = facts["plan"]
    print()
    print_plan(plan, facts["plan"])
    return train(plan)


def print_status(asked: Sweep) -> dict[str, Any]:
    """Every study of the experiment: trials by state, the best, what is running."""
    url = None if asked.storage is None else parsed_url(asked.storage)
    file = asked.storage_said if url is None else str(url.database) if is_file(url) else None
    if file is not None and not Path(file).is_file():
        raise UserError(f"{file}: no such file; expected a sweep of '{asked.experiment.name}', or its --storage")
    found = standing(asked.open(), asked.experiment.name)
    if not found:
        print(f"{asked.storage_said}: no study of {asked.experiment.name}")
    else:
        print_table(["study", "trials", "best", "at"], [_standing(study) for study in found])
    for study in found:
        for trial in study["running"]:
            age = "?" if trial["seconds"] is None else duration(trial["seconds"])
            print(f"{trial['served']}: {study['study']} trial {trial['number']} for {age}: {assigned(trial['params'])}")
    return {"experiment": asked.experiment.name, "storage": asked.storage_said, "studies": found}


def _standing(study: Mapping[str, Any]) -> list[str]:
    states = ", ".join(f"{count} {state}" for state, count in study["trials"].items())
    best = study["best"]
    if len(best) != 1:
        return [study["study"], states, "", f"{len(best)} on the front" if best else ""]
    values = ", ".join(f"{value:.4g}" for value in best[0]["values"])
    return [study["study"], states, values, assigned(best[0]["params"])]


def assigned(params: Mapping[str, Any]) -> str:
    """Parameters as they would be typed, numbers shortened."""
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
