"""How the sweeps of an experiment stand, from their storage alone."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import closing
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lllm.search.claims import Claims
from lllm.search.studies import DEFINITION, studies_of
from lllm.search.tune import states

__all__ = ["standing"]


def standing(storage: BaseStorage, experiment: str) -> list[dict[str, Any]]:
    """Per study, as plain values: trials by state, the best (for several objectives the front), and the running ones
    with the seconds since they began, and whether they are served or left by a driver that is gone."""
    return [_of(study) for study in studies_of(storage, experiment)]


def _of(study: optuna.Study) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    with closing(Claims(study)) as claims:
        left = {trial.number for trial in claims.left(running, ())}
    found = study.best_trials if any(trial.state is TrialState.COMPLETE for trial in trials) else []  # by number
    if len(study.directions) == 1:  # as a winner is chosen: the first of those that are equally good
        found = found[:1]
    return {
        "study": study.study_name,
        "objectives": study.user_attrs[DEFINITION].get("objectives"),
        "trials": states(study),
        "best": [{"number": t.number, "values": list(t.values), "params": dict(t.params)} for t in found],
        "running": [_running(trial, left) for trial in running],
    }


def _running(trial: FrozenTrial, left: Collection[int]) -> dict[str, Any]:
    began = trial.datetime_start
    return {
        "number": trial.number,
        "served": "left by a driver that is gone" if trial.number in left else "running",
        "params": dict(trial.params),
        "run": trial.user_attrs.get("run"),
        "seconds": None if began is None else max(0.0, time.time() - began.timestamp()),
    }
