"""Studies of the tiny experiment's learning rate, served as a sweep does it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from lllm.config import load_experiment, split_words
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan, Planned, make_plan
from lllm.registry import load_registry
from lllm.results.run import Run
from lllm.search.driver import Job, Outcome, drive
from lllm.search.storage import open_storage
from tests.launch.helpers import Watch

LR = "train.lr"
STANDIN = Path(__file__).with_name("standin.py")


def stand_in(run: Planned) -> list[str]:
    """The command of a process that trains nothing."""
    return [sys.executable, str(STANDIN), str(run.path)]


class Sweep:
    """Jobs of an experiment in the working directory. words: overrides of all trials."""

    def __init__(self, *words: str, url: str | None = None, plugins: Sequence[Path] = (), grace: int = 3) -> None:
        self.experiment, self.registry = load_experiment("tiny"), load_registry(list(plugins))
        self.words, self.plugins = words, [str(path.resolve()) for path in plugins]
        self.storage: RDBStorage = open_storage(url, Path("results"), "tiny", heartbeat=1, grace=grace)
        _, overrides = split_words(words, self.experiment)
        self.arms = Arms(self.experiment, overrides, self.registry)

    @property
    def plan(self) -> Plan:
        return Plan(self.experiment, (), Path("results"), tuple(self.plugins))

    def planned(self, variant: str, lr: float) -> Planned:
        _, overrides = split_words([*self.words, f"{LR}={lr!r}"], self.experiment)
        arms = Arms(self.experiment, overrides, self.registry)
        arms._setups = self.arms._setups  # the data are prepared once
        return make_plan(arms, [variant], [1000], plugins=self.plugins).runs[0]

    def study(self, name: str, objectives: int = 1, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
        return optuna.create_study(
            study_name=name,
            storage=self.storage,
            sampler=sampler or RandomSampler(seed=0),
            directions=["minimize"] * objectives,
            load_if_exists=True,
        )

    def job(self, study: optuna.Study, target: int, variant: str = "base", **options: Any) -> Job:
        def propose(trial: optuna.Trial) -> Planned:
            return self.planned(variant, trial.suggest_float(LR, 1e-4, 1e-1, log=True))

        def replan(trial: FrozenTrial) -> Planned:
            return self.planned(variant, trial.params[LR])

        asked: dict[str, Any] = {"propose": propose, "values": lambda result: [result["bpb"]], "replan": replan}
        return Job(study, target, **{**asked, **options})


def facts(study: optuna.Study, root: Path = Path("results")) -> list[tuple[int, str, Mapping[str, Any]]]:
    """Number, state and run of each trial; that a complete one has what its run's files say is asserted."""
    found = []
    for trial in study.get_trials():
        if trial.state.name == "COMPLETE":
            result = Run(root / trial.user_attrs["run"]).result
            assert result is not None
            assert trial.values is not None
            assert math.isclose(trial.values[0], result["bpb"], rel_tol=1e-12)
        found.append((trial.number, trial.state.name, trial.user_attrs))
    return found


def served(sweep: Sweep, *jobs: Job, workers: int = 2, **options: Any) -> tuple[Outcome, Watch]:
    watch = Watch()
    asked: dict[str, Any] = {"command": stand_in, **options}
    return drive(jobs, workers=workers, plan=sweep.plan, watcher=watch, **asked), watch


def fixed(sweep: Sweep, study: optuna.Study, rates: Sequence[float], **options: Any) -> Job:
    """A job whose trials take these learning rates in turn."""
    for rate in rates:
        study.enqueue_trial({LR: rate})
    return sweep.job(study, len(rates), **options)


def slow(pause: float) -> None:
    Path("pace").write_text(str(pause))


def wait_until(ready: Callable[[], object], what: str, seconds: float = 90.0) -> None:
    """Look until it is so; it takes far less than `seconds`."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)
