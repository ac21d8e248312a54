"""Samplers whose proposals depend on the study's trials and the new trial's number alone, not on who asks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

__all__ = ["Distinct", "Numbered", "OneByOne", "sampler"]

_STRIDE = 1_000_003  # between the seeds of two sweeps whose search seeds follow each other
_AGAIN = 7_919  # between the search seeds by which one trial is asked for again
_ASKS = 40  # for a proposal that is none of an earlier trial, and can be trained
_GUIDED = 10  # of them by the sampler itself, which may insist; then at random


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

    def _starts(self, trial: FrozenTrial) -> bool:
        return trial.number == 0 and bool(self.start)


class OneByOne(BaseSampler):
    """A sampler that is asked for each parameter by itself."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


class Distinct(OneByOne):
    """Asks again where a proposal is an earlier trial's, which would train nothing, or is refused; what the first ask
    gave is taken where that does not help, as in a space that is exhausted.

    ask: the sampler of the first ask (0), the second, and so on; space: all parameters, which every trial has; refused:
    whether a proposal cannot be trained. It is not asked before the trial's first parameter is, by when the trial has a
    driver.
    """

    def __init__(
        self,
        ask: Callable[[int], BaseSampler],
        space: Mapping[str, BaseDistribution],
        refused: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        self.ask, self.space, self.refused = ask, space, refused
        self._number, self._proposal = -1, dict[str, Any]()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if trial.number != self._number:
            self._number, self._proposal = trial.number, self._proposed(study, trial)
        return self._proposal[param_name]

    def _proposed(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        unwanted = [other.params for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        asked: list[dict[str, Any]] = []
        for k in range(_ASKS):
            asked.append(self._all(self.ask(k), study, trial))
            if asked[-1] not in unwanted and not self.refused(asked[-1]):
                return asked[-1]
            unwanted.append(asked[-1])
        return asked[0]

    def _all(self, by: BaseSampler, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        found = by.sample_relative(study, trial, by.infer_relative_search_space(study, trial))
        alone = {name: among for name, among in self.space.items() if name not in found}
        return found | {name: by.sample_independent(study, trial, name, among) for name, among in alone.items()}


def _holds(among: BaseDistribution, value: Any) -> bool:
    if isinstance(among, CategoricalDistribution):
        return value in among.choices
    if not isinstance(among, IntDistribution | FloatDistribution) or isinstance(value, bool | str) or value is None:
        return False
    return among.low <= value <= among.high and (not among.step or (value - among.low) % among.step == 0)


def sampler(
    name: Literal["tpe", "nsga2"], seed: int, trials: int, start: Mapping[str, Any] | None = None, again: int = 0
) -> BaseSampler:
    """TPE (multivariate, with conditional parameters in groups), or NSGA-II with a population of about twice the root
    of the number of trials, so that there are generations. again: how often each trial was asked for before; from the
    tenth time on it is drawn at random."""

    def make(number: int) -> BaseSampler:
        if again >= _GUIDED:
            return RandomSampler(seed=number)
        if name == "nsga2":
            return NSGAIISampler(population_size=max(4, 2 * round(math.sqrt(trials))), seed=number)
        startup = min(10, max(1, trials // 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(n_startup_trials=startup, seed=number, multivariate=True, group=True)

    return Numbered(make, seed + again * _AGAIN, None if again else start)
