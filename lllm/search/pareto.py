"""What a search over compositions came to: every trial, the front, and which dimensions mattered, as plain values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from lllm.results.files import write_bytes, write_json
from lllm.results.table import si
from lllm.search.compositions import Searching
from lllm.search.objectives import Objective

__all__ = ["FEWEST", "facts", "importance_lines", "rows", "said", "write_pareto"]

FEWEST = 10  # complete trials below which importances say nothing


def facts(search: Searching) -> dict[str, Any]:
    """Objectives, trials with parameters and values, the front's numbers, importances for each objective (None where
    there are fewer than `FEWEST` complete trials)."""
    front = [trial.number for trial in search.front()]
    complete = search.study.get_trials(False, (TrialState.COMPLETE,))
    trials = []
    for trial in search.study.get_trials(deepcopy=False):
        if trial.number < search.count:
            reason = trial.user_attrs.get("infeasible") or trial.user_attrs.get("reason") or ""
            trials.append(
                {
                    "number": trial.number,
                    "state": "infeasible" if "infeasible" in trial.user_attrs else trial.state.name.lower(),
                    "reason": reason,
                    "params": dict(trial.params),
                    "values": list(trial.values) if trial.state is TrialState.COMPLETE else None,
                    "front": trial.number in front,
                    "run": trial.user_attrs.get("run"),
                }
            )
    return {
        "study": search.study.study_name,
        "base": search.base,
        "sampler": search.by,
        "search_seed": search.trials.seed,
        "objectives": [{"name": one.name, "better": one.better} for one in search.objectives],
        "front": front,
        "importances": _importances(search) if len(complete) >= FEWEST else None,
        "trials": trials,
    }


def _importances(search: Searching) -> dict[str, dict[str, float]]:
    """Objective -> parameter -> share of what decides whether a trial is among the better ones (PED-ANOVA,
    arXiv:2304.10255), for the parameters that all trials have."""
    found = {}
    for i, one in enumerate(search.objectives):

        def target(trial: FrozenTrial, i: int = i, one: Objective = one) -> float:
            return one.small(trial.values[i])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", message="PedAnova")  # that smaller is better, which `small` sees to
            shares = get_param_importances(search.study, evaluator=PedAnovaImportanceEvaluator(), target=target)
        finite = {name: float(share) for name, share in shares.items() if math.isfinite(share)}
        found[one.name] = dict(sorted(finite.items(), key=lambda item: -item[1]))
    return found


def rows(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and cells of the front's table."""
    headers = ["trial", *(one["name"] for one in found["objectives"]), "composition"]
    numbered = {trial["number"]: trial for trial in found["trials"]}
    cells = []
    for number in found["front"]:
        trial = numbered[number]
        params = ", ".join(f"{name}={_short(value)}" for name, value in trial["params"].items())
        cells.append([str(number), *(_number(value) for value in trial["values"]), params])
    return headers, cells


def write_pareto(folder: Path, found: dict[str, Any], name: str | None = None) -> Path:
    """Write pareto.json and pareto.md, of a search with a name pareto.NAME.json and .md, and return the latter's path.
    Errors as in `write_bytes`."""
    stem = f"pareto.{name}" if name else "pareto"
    write_json(folder / f"{stem}.json", found)
    headers, cells = rows(found)
    lines = [f"# {found['study']}: the Pareto front", "", said(found), ""]
    lines += [_line(headers), _line(["---"] * len(headers)), *map(_line, cells), ""]
    lines += importance_lines(found)
    path = folder / f"{stem}.md"
    write_bytes(path, ("\n".join(lines) + "\n").encode())
    return path


def importance_lines(found: dict[str, Any]) -> list[str]:
    """A line for each objective: what mattered, most first."""
    if found["importances"] is None:
        return [f"no importances: fewer than {FEWEST} complete trials"]
    return [
        f"what decides {name}: " + (", ".join(f"{path} {share:.0%}" for path, share in shares.items()) or "not known")
        for name, shares in found["importances"].items()
    ]


def said(found: dict[str, Any]) -> str:
    """What was searched, in a sentence or two."""
    states = [trial["state"] for trial in found["trials"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    goals = ", ".join(f"{one['name']} ({one['better']})" for one in found["objectives"])
    return (
        f"{goals}; {len(states)} trials ({counts}) at seed {found['search_seed']} from {found['base']}, by "
        f"{found['sampler']}. One seed each: nothing is claimed before the winners are confirmed."
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else si(value)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
