"""How the sweeps of an experiment stand, for `lllm sweep --status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lllm.cli.output import print_table
from lllm.errors import UserError
from lllm.results.table import duration

if TYPE_CHECKING:
    from lllm.cli.sweep.served import Sweep

__all__ = ["assigned", "print_status"]


def print_status(asked: Sweep) -> dict[str, Any]:
    """Every study of the experiment: trials by state, the best, what is running."""
    from lllm.search.studies import standing

    if missing := asked.missing:
        raise UserError(f"{missing}: no such file; expected a sweep of '{asked.experiment.name}', or its --storage")
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
