"""Sweeps of a tiny experiment whose runs are stand-ins, except where a test trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lllm.config import load_experiment, split_words
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan
from lllm.registry import Registry
from lllm.search.composable import composables
from lllm.search.compositions import Searching
from lllm.search.driver import Job, Outcome, drive
from lllm.search.objectives import objectives
from lllm.search.storage import open_storage
from lllm.search.trials import Trials, search_seed
from lllm.search.tunable import tunables
from lllm.search.tune import Tuning
from tests.launch.helpers import TINY, Watch
from tests.search.helpers import stand_in

TWO = f"{TINY}variants:\n  one: {{}}\n  two: {{model.head: parallel}}\n"


def trials_of(registry: Registry, *words: str, apart: bool = False) -> tuple[Trials, tuple[str, ...]]:
    experiment = load_experiment("tiny")
    variants, overrides = split_words(words, experiment)
    settings = [word for word in words if "=" in word]
    arms = Arms(experiment, overrides, registry)
    return Trials(arms, settings, (), search_seed(experiment), apart), variants


def tuning_of(
    registry: Registry, count: int, *words: str, name: str = "tune", all_fields: bool = False
) -> tuple[Tuning, Sequence[str]]:
    trials, variants = trials_of(registry, *words)
    spaces, notes = tunables(trials.arms, variants, all_fields)
    return Tuning(trials, spaces, open_storage(None, Path("results"), "tiny"), name, count), notes


def searching_of(registry: Registry, count: int, *words: str, names: Sequence[str] = ("bpb",), **options: Any) -> Any:
    trials, _ = trials_of(registry, *words, apart=True)
    experiment = trials.arms.experiment
    resolved = trials.arms.resolved(experiment.baseline)
    dimensions = composables(experiment.search, resolved)
    aims = objectives(names, [resolved], experiment.decide)
    storage = open_storage(None, Path("results"), "tiny")
    return Searching(trials, experiment.baseline, dimensions, aims, storage, "search", count, **options)


def served(sweep: Tuning | Searching, workers: int = 2, more: Callable[[], Sequence[Job]] | None = None) -> Outcome:
    """Let the driver serve it, by stand-ins."""
    more = more or (sweep.more if isinstance(sweep, Tuning) else lambda: [])
    plan = Plan(sweep.trials.arms.experiment, (), Path("results"))
    return drive(sweep.jobs(), workers=workers, plan=plan, watcher=Watch(), more=more, command=stand_in)
