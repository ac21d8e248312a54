"""Runs at tuned settings: what `--tuned` makes of an experiment and its plan, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lllm.config import Experiment
from lllm.errors import UserError
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan
from lllm.results.verdict import other_terms

if TYPE_CHECKING:  # Optuna, which other runs do without
    from lllm.search.winners import Tuned

__all__ = ["LABEL", "OPTION", "annotated", "print_tuned", "refuse_searched", "tuned_arms"]

LABEL = "tuned"  # what tuned runs are called unless --as says otherwise
OPTION = "--tuned"


def tuned_arms(arms: Arms, variants: Sequence[str]) -> tuple[Arms, Tuned]:
    """The arms at the settings that the experiment's last sweep found, and what it found.

    Raises:
        UserError: there was no sweep, or not of one of these variants as it is now, or the command line sets what was
            tuned.
    """
    from lllm.search.winners import read_tuned, tuned_path, with_tuned

    experiment: Experiment = arms.experiment
    results = Path(arms.resolved(variants[0]).run.results)
    tuned = read_tuned(results, experiment.name)
    origin = str(tuned_path(results, experiment.name))
    for winner in filter(None, map(tuned.winners.get, variants)):
        for path in winner.fields:
            if arms.overrides.get(path) is not None:  # its runs would be called what they are not
                given = f"{arms.overrides.origin(path)}: {path}={arms.overrides.get(path)}"
                raise UserError(f"{given}: {origin} sets it; expected one or the other")
    return arms.beside(with_tuned(experiment, tuned, variants, origin)), tuned


def refuse_searched(tuned: Tuned, seeds: Sequence[int]) -> None:
    """Raises UserError where the seed by which the settings were chosen is to confirm them."""
    if tuned.seed in seeds:
        listed = ",".join(map(str, seeds))
        raise UserError(
            f"--seeds {listed}: {tuned.seed} is the seed of the trials that chose these settings; expected fresh ones"
        )


def annotated(plan: Plan, extra: Callable[[str], Mapping[str, Any]]) -> Plan:
    """The plan whose runs record what `extra` says of their variant."""
    return replace(plan, runs=tuple(replace(run, extra={**run.extra, **extra(run.arm.variant)}) for run in plan.runs))


def print_tuned(tuned: Tuned, plan: Plan) -> None:
    """The settings, the trials behind them, and whether these were made on other terms than the plan's runs."""
    from lllm.search.space import typed
    from lllm.search.winners import terms_of

    for variant, arm in {run.arm.variant: run.arm for run in plan.runs}.items():
        winner = tuned.winners[variant]
        value = f"{tuned.metric} {winner.value:.4f} at seed {tuned.seed}"
        other = other_terms(winner.terms, terms_of(arm))
        told = f"; on other terms than these runs: {other}" if other else ""
        print(f"tuned {variant}: {' '.join(typed(winner.fields))} ({winner.trials} trials, {value}{told})")
