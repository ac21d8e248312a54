"""Samplers whose proposals depend on the study's trials and the new trial's number alone, not on who asks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

__all__ = ["SAMPLERS", "Numbered", "sampler"]

SAMPLERS = ("tpe", "nsga2")
_STRIDE = 1_000_003  # between the seeds of two sweeps whose search seeds follow each other


class Numbered(BaseSampler):
    """A fresh sampler for each trial, seeded by the trial's number: a sweep that was killed and continues proposes what
    it would have proposed, and two drivers of one study never propose the same by having the same seed.

    start: the parameters of the first trial, as far as they are within their distributions.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, start: Mapping[str, Any] | None = None) -> None:
        self.make, self.seed, self.start = make, seed, start or {}
        self._number, self._sampler = -1, make(seed)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            self._number = trial.number
            self._sampler = self.make((self.seed * _STRIDE + trial.number) % 2**32)
        return self._sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {} if self._starts(trial) else self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {} if self._starts(trial) else self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._starts(trial) and param_name in self.start:
            value = self.start[param_name]
            if _holds(param_distribution, value):
                return value
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._of(trial).after_trial(study, trial, state, values)

    def _starts(self, trial: FrozenTrial) -> bool:
        return trial.number == 0 and bool(self.start)


def _holds(among: BaseDistribution, value: Any) -> bool:
    if isinstance(among, CategoricalDistribution):
        return value in among.choices
    if not isinstance(among, IntDistribution | FloatDistribution) or isinstance(value, bool | str) or value is None:
        return False
    return among.low <= value <= among.high and (not among.step or (value - among.low) % among.step == 0)


def sampler(
    name: Literal["tpe", "nsga2"], seed: int, trials: int, start: Mapping[str, Any] | None = None
) -> BaseSampler:
    """TPE (multivariate, with conditional parameters in groups), or NSGA-II with a population of about twice the root
    of the number of trials, so that there are generations."""

    def make(number: int) -> BaseSampler:
        if name == "nsga2":
            return NSGAIISampler(population_size=max(4, 2 * round(math.sqrt(trials))), seed=number)
        startup = min(10, max(1, trials // 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(n_startup_trials=startup, seed=number, multivariate=True, group=True)

    return Numbered(make, seed, start)
