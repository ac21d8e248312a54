"""Optuna studies of an experiment: opened with what defines them, refused when that has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection

from lllm.errors import UserError
from lllm.results.grouping import assignments, few
from lllm.results.records import differences

__all__ = ["DEFINITION", "Direction", "open_study", "studies_of"]

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


def studies_of(storage: BaseStorage, experiment: str) -> list[optuna.Study]:
    """Every study of the experiment on the storage, by name."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = []
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        definition = summary.user_attrs.get(DEFINITION)
        if isinstance(definition, dict) and definition.get("experiment") == experiment:
            found.append(summary.study_name)
    return [optuna.load_study(study_name=name, storage=storage) for name in sorted(found)]
