"""`tune`: one study per variant, equally many trials of an equal budget for each, the best of each by the metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from lllm.config.search import LR
from lllm.launch.plan import Planned
from lllm.search import grid
from lllm.search.composable import choosable
from lllm.search.driver import Job
from lllm.search.objectives import Objective
from lllm.search.sampling import Distinct, sampler
from lllm.search.space import chosen, suggest, written
from lllm.search.studies import ended, open_study, runs
from lllm.search.trials import Trials
from lllm.search.tunable import Tunable
from lllm.search.winners import Tried, Winner, definition_of, terms_of

__all__ = ["PRUNED_FROM", "Tuning"]

PRUNED_FROM = 16  # complete trials of a variant before any of its own is cut short
_WATCHED = "bpb"  # what metrics.jsonl has while a run is under way


class Tuning:
    """A sweep's studies, one per variant. count: trials that each is to have, extensions of the grid on top. Errors as
    in `open_study`."""

    def __init__(
        self, trials: Trials, tunables: Sequence[Tunable], storage: BaseStorage, name: str, count: int
    ) -> None:
        self.trials, self.tunables, self.count = trials, {one.variant: one for one in tunables}, count
        rule = trials.arms.experiment.decide
        self.objective = Objective(rule.metric, rule.better)
        self.on_grid = all(one.grid for one in tunables)
        self._wanted: list[int] = []
        self.studies = {one.variant: self._study(one, storage, name) for one in tunables}
        self._want([])

    def jobs(self) -> list[Job]:
        return [self._job(one) for one in self.tunables.values()]

    def more(self) -> list[Job]:
        """Once all is served: the same with a further point for every variant, where the best of one is at the edge of
        the grid, or with the points that another driver is still at; nothing otherwise."""
        if not self.on_grid:
            return []
        if self.running:  # what another driver has added is every variant's, and no best is known before it has ended
            self._want([])
            return self.jobs()
        added = grid.extension(self.count, [self._curve(one) for one in self.tunables.values()])
        self._want(added)
        return self.jobs() if added else []

    @property
    def running(self) -> int:
        """Trials that are under way, here or elsewhere."""
        return sum(len(study.get_trials(False, (TrialState.RUNNING,))) for study in self.studies.values())

    @property
    def complete(self) -> bool:
        """Whether every variant has all its trials, each ended in some way."""
        return not self.running and all(len(ended(job.study)) >= job.target for job in self.jobs())

    def winners(self) -> dict[str, Winner]:
        """The best complete trial of each variant that has one."""
        found = {}
        for variant, one in self.tunables.items():
            complete = self.studies[variant].get_trials(False, (TrialState.COMPLETE,))
            if complete:
                best = min(complete, key=lambda trial: (self.objective.small(trial.values[0]), trial.number))
                found[variant] = Winner(
                    fields=chosen(one.dimensions, best.params),
                    trials=len(ended(self.studies[variant])),
                    trial=best.number,
                    value=float(best.values[0]),
                    sensitivity=_sensitivity(best, complete),
                    definition=definition_of(self.trials.arms.experiment, variant),
                    tried=tuple(_tried(one, trial) for trial in ended(self.studies[variant])),
                    trained=runs(self.studies[variant]),
                    terms=terms_of(self.trials.arms.arm(variant)),
                )
        return found

    def at_edge(self) -> list[str]:
        """Variants whose best lies at the edge of the grid, beyond which nothing was tried."""
        found = []
        for variant, winner in self.winners().items():
            exponent = grid.offset(self.tunables[variant].centre, winner.fields[LR]) if self.on_grid else None
            if exponent in (min(self._wanted), max(self._wanted)):
                found.append(variant)
        return found

    def _study(self, one: Tunable, storage: BaseStorage, name: str) -> optuna.Study:
        arm = self.trials.arms.arm(one.variant)
        _, entries = choosable(one.dimensions, arm.resolved, lambda place, node: node)
        definition = {
            **self.trials.definition(one.variant, entries),
            "space": {LR: {"grid": one.centre}} if one.grid else written(one.dimensions),
            "objectives": {self.objective.name: self.objective.better},
            "matched": arm.matched,
        }
        name = f"{self.trials.arms.experiment.name}/{one.variant}/{name}"
        return open_study(storage, name, definition, self._sampler(one), [self.objective.direction])

    def _want(self, added: Sequence[int]) -> None:
        curves = [self._curve(one) for one in self.tunables.values()] if self.on_grid else []
        self._wanted = grid.points(self.count, [*curves, added])

    def _sampler(self, one: Tunable) -> optuna.samplers.BaseSampler:
        if one.grid:
            return grid.GridSampler(one.centre, lambda: self._wanted)

        def ask(again: int) -> optuna.samplers.BaseSampler:
            return sampler("tpe", self.trials.seed, self.count, one.start, again)

        def refused(params: Mapping[str, Any]) -> bool:
            return self.trials.refuses(one.variant, chosen(one.dimensions, params))

        return Distinct(ask, {dimension.parameter: dimension.distribution for dimension in one.dimensions}, refused)

    def _job(self, one: Tunable) -> Job:
        study = self.studies[one.variant]

        def propose(trial: Trial) -> Planned:
            return self._planned(one, suggest(one.dimensions, trial), trial.number)

        def replan(trial: FrozenTrial) -> Planned:
            return self._planned(one, chosen(one.dimensions, trial.params), trial.number)

        target = max(self.count, *(len(ended(study)) for study in self.studies.values()))  # equally many for all
        if self.on_grid:  # a point that was served twice, by a trial that was lost, leaves none out
            target = len(self._wanted) + self._surplus(one)
        pruned = PRUNED_FROM if self.objective.name == _WATCHED else None
        return Job(study, target, propose, lambda result: [self.objective.value(result)], replan, pruned, _WATCHED)

    def _planned(self, one: Tunable, fields: Mapping[str, Any], number: int) -> Planned:
        return self.trials.planned(one.variant, fields, self.studies[one.variant].study_name, number)

    def _curve(self, one: Tunable) -> dict[int, float | None]:
        """Exponent -> the number to be small, None where there is none (yet)."""
        found: dict[int, float | None] = {}
        for trial in self.studies[one.variant].get_trials(deepcopy=False):
            exponent = grid.offset(one.centre, trial.params[LR]) if LR in trial.params else None
            if exponent is not None:
                value = self.objective.small(trial.values[0]) if trial.state == TrialState.COMPLETE else None
                found[exponent] = value if value is not None else found.get(exponent)
        return found

    def _surplus(self, one: Tunable) -> int:
        rates = [t.params[LR] for t in self.studies[one.variant].get_trials(deepcopy=False) if LR in t.params]
        return len(rates) - len({grid.offset(one.centre, rate) for rate in rates})


def _tried(one: Tunable, trial: FrozenTrial) -> Tried:
    value = float(trial.values[0]) if trial.state is TrialState.COMPLETE else None
    known = {dimension.parameter for dimension in one.dimensions} <= trial.params.keys()
    fields = chosen(one.dimensions, trial.params) if known else dict(trial.params)
    return Tried(trial.number, fields, value)


def _sensitivity(best: FrozenTrial, complete: Sequence[FrozenTrial]) -> dict[str, float]:
    """The metric at half and twice the best trial's learning rate, all else equal, where that was measured."""
    rate, others = best.params[LR], {name: value for name, value in best.params.items() if name != LR}
    found = {}
    for factor in (0.5, 1.0, 2.0):
        for trial in complete:
            same = {name: value for name, value in trial.params.items() if name != LR} == others
            if same and math.isclose(trial.params[LR], factor * rate, rel_tol=1e-9):
                found[f"{factor:g}x"] = float(trial.values[0])
    return found if len(found) > 1 else {}
