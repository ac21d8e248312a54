"""Runs at tuned settings: what `--tuned` makes of an experiment and its plan, and what must be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lllm.config import Experiment
    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan
    from lllm.search.winners import Tuned

__all__ = ["LABEL", "OPTION", "print_tuned", "tuned_arms", "tuned_plan"]

LABEL = "tuned"  # what tuned runs are called unless --as says otherwise
OPTION = "--tuned"


def tuned_arms(arms: Arms, variants: Sequence[str]) -> tuple[Arms, Tuned]:
    """The arms at the settings that the experiment's last sweep found, and what it found.

    Raises:
        UserError: there was no sweep, or not of one of these variants as it is now.
    """
    from lllm.search.winners import read_tuned, tuned_path, with_tuned

    experiment: Experiment = arms.experiment
    results = Path(arms.resolved(variants[0]).run.results)
    tuned = read_tuned(results, experiment.name)
    origin = str(tuned_path(results, experiment.name))
    return arms.beside(with_tuned(experiment, tuned, variants, origin)), tuned


def tuned_plan(plan: Plan, tuned: Tuned) -> Plan:
    """The plan whose runs record how their variant was tuned."""
    runs = [replace(run, extra={**run.extra, **tuned.extra(run.arm.variant)}) for run in plan.runs]
    return replace(plan, runs=tuple(runs))


def print_tuned(tuned: Tuned, variants: Sequence[str], words: Sequence[str]) -> None:
    """The settings, the trials behind them, and whether these were made on other terms. words: of the command line."""
    from lllm.results.named import semantic_words
    from lllm.search.space import typed

    for variant in variants:
        winner = tuned.winners[variant]
        value = f"{tuned.metric} {winner.value:.4f} at seed {tuned.seed}"
        print(f"tuned {variant}: {' '.join(typed(winner.fields))} ({winner.trials} trials, {value})")
    now = semantic_words(words)
    if sorted(now) != sorted(tuned.overrides):
        then = " ".join(tuned.overrides) or "the file as it stands"
        print(f"tuned on other terms: under {then}; this run is under {' '.join(now) or 'the file as it stands'}")
