"""What both kinds of sweep have in common on the command line: what is asked, how trials are served, confirmation."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lllm.results.table import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.storages import RDBStorage

    from lllm.config import Experiment
    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan, Planned
    from lllm.search.driver import Job

__all__ = ["Sweep", "annotated", "confirm", "prepare", "served"]


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
        from lllm.search.storage import open_storage

        return open_storage(self.storage, self.results, self.experiment.name)

    def look(self, closely: bool) -> None:
        """Look at the URL of the storage, and, closely, whether it could be opened; nothing is made. Raises UserError
        where it cannot be used."""
        from lllm.search.storage import check_storage
        from lllm.search.urls import shown

        if closely:
            check_storage(self.storage, self.results, self.experiment.name)
        elif self.storage is not None:
            shown(self.storage)

    @property
    def storage_said(self) -> str:
        """The storage without a password."""
        if self.storage is None:
            return str(self.results / self.experiment.name / "sweep.db")
        from lllm.search.urls import shown

        return shown(self.storage)

    @property
    def missing(self) -> str:
        """The file of the storage where there is none, '' where there is, or it is a server's."""
        from sqlalchemy.engine import make_url

        said = self.storage_said
        url = None if self.storage is None else make_url(said)
        file = said if url is None else (url.database or "") if url.drivername.startswith("sqlite") else ""
        return file if file and not Path(file).is_file() else ""

    def plan(self) -> Plan:
        """What all trials have in common."""
        from lllm.launch.plan import Plan

        return Plan(self.experiment, (), self.results, self.plugins)


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
    from lllm.cli.named import plugin_words
    from lllm.cli.progress import measuring, preparing
    from lllm.config import load_experiment, split_words
    from lllm.launch.arms import Arms
    from lllm.registry import load_registry
    from lllm.results.named import check_name
    from lllm.search.trials import search_seed

    registry, experiment = load_registry(plugins), load_experiment(name)
    variants, overrides = split_words(words, experiment)
    if workers is not None:
        overrides.put("run.workers", workers, "--workers")
    arms = Arms(experiment, overrides, registry, preparing(), measure=measuring)
    execution = arms.resolved(variants[0]).run
    return Sweep(
        experiment,
        arms,
        variants,
        tuple(word for word in words if "=" not in word),
        (*words_of(words), *plugin_words(plugins)),
        tuple(str(path.resolve()) for path in plugins),
        Path(execution.results),
        execution.workers,
        storage,
        timeout,
        None if label is None else check_name(label),
        trials,
        search_seed(experiment),
    )


def words_of(words: Sequence[str]) -> list[str]:
    """Those that are settings, not variants."""
    return [word for word in words if "=" in word]


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
    from lllm.cli.live import watcher
    from lllm.results.run import check_writable
    from lllm.search.driver import drive

    check_writable(asked.results)
    sys.stdout.flush()
    plan = asked.plan()
    ended = sum(trial.state.is_finished() for job in jobs for trial in job.study.get_trials(deepcopy=False))
    with _resumable(), watcher(plan) as inner:
        watching = _Trials(inner, total, ended, asked.workers)
        outcome = drive(jobs, workers=asked.workers, plan=plan, watcher=watching, timeout=asked.timeout, more=more)
    found["driver"] = {"seconds": outcome.seconds, "cpu_seconds": outcome.cpu_seconds}
    if outcome.late:
        found["complete"] = False
        print(f"the time is up; everything is saved, and nothing is confirmed yet. To continue: {_again()}")
    return not outcome.late


@contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; everything is saved. To continue: {_again()}", file=sys.stderr)
        raise


def _again() -> str:
    from lllm.launch.plan import arguments

    return shlex.join(["lllm", *arguments()])


@dataclass
class _Trials:
    """Shows trials as runs are shown, under their studies' numbers, and counts them."""

    inner: Any
    total: Callable[[], int]
    ended_trials: int
    workers: int
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
    from lllm.cli.plan import plan_facts, print_plan
    from lllm.cli.run import train

    facts = plan_facts(plan)
    found["confirmation"] = facts["plan"]
    print()
    print_plan(plan, facts["plan"])
    sys.stdout.flush()
    return train(plan)


def annotated(plan: Plan, extra: Callable[[str], Mapping[str, Any]]) -> Plan:
    """The plan whose runs record what `extra` says of their variant."""
    return replace(plan, runs=tuple(replace(run, extra={**run.extra, **extra(run.arm.variant)}) for run in plan.runs))
