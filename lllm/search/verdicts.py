"""How a trial ended, as the files of its run say it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from lllm.errors import UserError
from lllm.results.ownership import Owned, own
from lllm.results.run import Run

__all__ = ["Verdict", "mark_pruned", "verdict_of"]

_WORDS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Verdict:
    """What a study is told of a trial. values: of one that is complete; reason: of one that is not, kept in the user
    attribute of that name."""

    state: TrialState
    values: tuple[float, ...] | None = None
    reason: str = ""
    attribute: str = "reason"

    @property
    def word(self) -> str:
        """What a watcher is told."""
        return _WORDS[self.state]


def verdict_of(path: Path, study: str, values: Callable[[Mapping[str, Any]], Sequence[float]]) -> Verdict | None:
    """What the run at `path` has come to, None while it has not ended. What another study pruned has not: its rule is
    not this one's. values: from result.json to the objectives' values."""
    run = Run(path)
    result = run.result
    if result is not None:
        return _complete(result, values)
    status = run.status or {}
    match run.state:
        case "failed" | "diverged" as ended:
            state = TrialState.PRUNED if ended == "diverged" else TrialState.FAIL
            return Verdict(state, reason=str(status.get("reason", "")))
        case "pruned" if status.get("study") == study:
            return Verdict(TrialState.PRUNED, reason=str(status.get("rule", "")))
    return None


def mark_pruned(path: Path, rule: str, study: str) -> None:
    """Leave the run as pruned by that rule of that study, unless another process has taken it over meanwhile."""
    with suppress(Owned), own(path) as ownership:
        ownership.end("pruned", rule=rule, study=study)


def _complete(result: Mapping[str, Any], values: Callable[[Mapping[str, Any]], Sequence[float]]) -> Verdict:
    try:
        found = tuple(float(value) for value in values(result))
    except UserError as error:
        return Verdict(TrialState.FAIL, reason=str(error))
    if not all(map(math.isfinite, found)):
        return Verdict(TrialState.FAIL, reason=f"its values are {', '.join(map(str, found))}; expected finite numbers")
    return Verdict(TrialState.COMPLETE, found)
