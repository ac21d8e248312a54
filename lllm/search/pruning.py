"""When a trial is not worth its end: a loss that is no number, at any time, or a curve above its study's median."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, cast

import optuna
from optuna.pruners import MedianPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

__all__ = ["Curve", "below_median"]

REPORTS = 20  # of a run's values, at most, go to the study: each is a transaction, and a curve needs no more


class Curve:
    """The values of one field over a run of so many steps. reported: steps whose value the study has already."""

    def __init__(self, field: str, steps: int, reported: Iterable[int] = ()) -> None:
        self.field, self.steps = field, max(1, steps)
        self._last = max(reported, default=0)
        self._finite = self._last > 0

    def rule(self, record: Mapping[str, Any]) -> str:
        """Why the run is not to go on, seeing this record; '': no reason."""
        value = self._value(record)
        if value is None:
            return ""
        if math.isfinite(value):
            self._finite = True
            return ""
        return f"diverged: {self.field} is not finite at step {record['step']}" if self._finite else ""

    def due(self, record: Mapping[str, Any]) -> tuple[int, float] | None:
        """Step and value, where the study is to have them. The same steps of all runs that are equally long."""
        step, value = int(record["step"]), self._value(record)
        if value is None or not math.isfinite(value):
            return None
        if step * REPORTS // self.steps <= self._last * REPORTS // self.steps and self._last:
            return None
        self._last = step
        return step, value

    def _value(self, record: Mapping[str, Any]) -> float | None:
        """The field in the record or in its metrics; what is not finite is null in a file."""
        metrics = record.get("metrics")
        for held in (record, metrics if isinstance(metrics, Mapping) else {}):
            if self.field in held:
                value = held[self.field]
                return float(value) if isinstance(value, int | float) else math.nan
        return None


class _Seen:
    """A study as a pruner asks for it, from what is known already: asking the storage at each report is dear."""

    def __init__(self, complete: Sequence[FrozenTrial], direction: StudyDirection) -> None:
        self.complete, self.direction = list(complete), direction

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """Of which a median pruner reads the complete ones."""
        return self.complete


def below_median(trial: FrozenTrial, complete: Sequence[FrozenTrial], direction: StudyDirection, after: int) -> str:
    """The rule by which the trial is to be pruned: the best that it has reported is worse than the median of its
    study's complete trials at the same step, `after` of them or more. '': it is not, or there are fewer."""
    seen = cast(optuna.Study, _Seen(complete, direction))
    if not MedianPruner(n_startup_trials=after).prune(seen, trial):
        return ""
    return f"worse than the median of this study's trials at step {trial.last_step}"
