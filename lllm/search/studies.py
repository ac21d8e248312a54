"""Optuna studies of an experiment: opened with what defines them, refused when that has changed; how they stand."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lllm.errors import UserError
from lllm.results.grouping import assignments, few
from lllm.results.records import differences
from lllm.search.claims import Claims
from lllm.search.jobs import RUN

__all__ = ["Direction", "ended", "open_study", "reason_of", "runs", "standing", "states"]

DEFINITION = "lllm"  # the study's attribute that says of which experiment it is, and what defines its trials
Direction = Literal["minimize", "maximize"]


def open_study(
    storage: BaseStorage,
    name: str,
    definition: Mapping[str, Any],
    sampler: BaseSampler,
    directions: Sequence[Direction],
) -> optuna.Study:
    """The study, made where there is none. definition: plain values, with `experiment`: what its trials have in common.

    Raises:
        UserError: a study of that name is of another experiment, or its trials were defined otherwise.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = json.loads(json.dumps(definition, sort_keys=True))
    known = {summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)}
    study = optuna.create_study(
        storage=storage, study_name=name, sampler=sampler, directions=list(directions), load_if_exists=True
    )
    found = study.user_attrs.get(DEFINITION)
    if found is None and (name not in known or not study.get_trials(deepcopy=False)):
        study.set_user_attr(DEFINITION, asked)
        found = asked
    if not isinstance(found, dict) or found.get("experiment") != asked["experiment"]:
        other = found.get("experiment") if isinstance(found, dict) else None
        of = f"of experiment '{other}'" if other else "not lllm's"
        raise UserError(f"study '{name}' of this storage is {of}; expected --as NEWNAME, or another --storage")
    wanted = [StudyDirection[direction.upper()] for direction in directions]
    if found != asked or study.directions != wanted:
        changed = few(assignments(differences(found, asked))) or "its objectives"
        raise UserError(
            f"study '{name}' was begun under other terms: now {changed}; expected --as NEWNAME for a new study, or the "
            "terms as they were"
        )
    return study


def ended(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def states(study: optuna.Study) -> dict[str, int]:
    """How many trials of a study are in each state; of those that are queued for a larger target nothing is said."""
    trials = study.get_trials(deepcopy=False)
    names = ["infeasible" if "infeasible" in trial.user_attrs else trial.state.name.lower() for trial in trials]
    return {name: names.count(name) for name in sorted(set(names)) if name != "waiting"}


def runs(study: optuna.Study) -> int:
    """How many different runs its trials are: some may have proposed what was there, or could not be trained at all."""
    return len({trial.user_attrs[RUN] for trial in study.get_trials(deepcopy=False) if RUN in trial.user_attrs})


def reason_of(study: optuna.Study) -> str:
    """Why the last trial that came to no result did not, '' where nothing is known of one."""
    attributes = [trial.user_attrs for trial in study.get_trials(deepcopy=False)]
    reasons = [found.get("infeasible") or found.get("reason") for found in attributes]
    return next((str(reason) for reason in reversed(reasons) if reason), "")


def standing(storage: BaseStorage, experiment: str) -> list[dict[str, Any]]:
    """Per study, as plain values: trials by state, the best (for several objectives the front), and the running ones
    with the seconds since they began, and whether they are served or left by a driver that is gone."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = []
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        definition = summary.user_attrs.get(DEFINITION)
        if isinstance(definition, dict) and definition.get("experiment") == experiment:
            names.append(summary.study_name)
    return [_standing(optuna.load_study(study_name=name, storage=storage)) for name in sorted(names)]


def _standing(study: optuna.Study) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    with closing(Claims(study)) as claims:
        left = {trial.number for trial in claims.left(running, ())}
    found = study.best_trials  # by number
    if len(study.directions) == 1:  # as a winner is chosen: the first of those that are equally good
        found = found[:1]
    return {
        "study": study.study_name,
        "objectives": study.user_attrs[DEFINITION].get("objectives"),
        "trials": states(study),
        "best": [{"number": t.number, "values": list(t.values), "params": dict(t.params)} for t in found],
        "running": [
            {
                "number": trial.number,
                "served": "left by a driver that is gone" if trial.number in left else "running",
                "params": dict(trial.params),
                "run": trial.user_attrs.get("run"),
                "seconds": max(0.0, time.time() - began.timestamp()) if (began := trial.datetime_start) else None,
            }
            for trial in running
        ],
    }
