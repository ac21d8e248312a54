"""`tune`: one study per variant, equally many trials of an equal budget for each, the best of each by the metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from lllm.config.search import LR
from lllm.search import grid
from lllm.search.composable import choosable
from lllm.search.driver import Job
from lllm.search.jobs import RUN
from lllm.search.sampling import Distinct, sampler
from lllm.search.space import chosen, suggest, written
from lllm.search.studies import Direction, open_study
from lllm.search.trials import Trials, number_of
from lllm.search.tunable import Tunable
from lllm.search.winners import Winner, definition_of, terms_of

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from lllm.launch.plan import Planned

__all__ = ["PRUNED_FROM", "Tuning", "definition", "reason_of", "runs", "states"]

PRUNED_FROM = 16  # complete trials of a variant before any of its own is cut short
_WATCHED = "bpb"  # what metrics.jsonl has while a run is under way


class Tuning:
    """A sweep's studies, one per variant. count: trials that each is to have, extensions of the grid on top.

    Raises:
        UserError: a study of that name has another definition.
    """

    def __init__(
        self, trials: Trials, tunables: Sequence[Tunable], storage: BaseStorage, name: str, count: int
    ) -> None:
        self.trials, self.tunables, self.count = trials, {one.variant: one for one in tunables}, count
        self.rule = trials.arms.experiment.decide
        self.on_grid = all(one.grid for one in tunables)
        self._wanted: list[int] = []
        direction: Direction = "minimize" if self.rule.better == "lower" else "maximize"
        experiment = trials.arms.experiment.name
        self.studies = {
            one.variant: open_study(
                storage,
                f"{experiment}/{one.variant}/{name}",
                definition(trials, one),
                self._sampler(one),
                [direction],
            )
            for one in tunables
        }
        self._want([])

    def jobs(self) -> list[Job]:
        """What is to be served now."""
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
        return not self.running and all(self.done(job.study) >= job.target for job in self.jobs())

    def done(self, study: optuna.Study) -> int:
        """Trials of a study that have ended."""
        return len(_ended(study))

    def winners(self) -> dict[str, Winner]:
        """The best complete trial of each variant that has one."""
        found = {}
        for variant, one in self.tunables.items():
            complete = self.studies[variant].get_trials(False, (TrialState.COMPLETE,))
            if complete:
                best = min(complete, key=lambda trial: (self._small(trial), trial.number))
                found[variant] = Winner(
                    fields=_fields(one, best),
                    trials=self.done(self.studies[variant]),
                    trial=best.number,
                    value=float(best.values[0]),
                    sensitivity=_sensitivity(best, complete),
                    definition=definition_of(self.trials.arms.experiment, variant),
                    tried=[_tried(one, trial) for trial in _ended(self.studies[variant])],
                    trained=runs(self.studies[variant]),
                    terms=terms_of(self.trials.arm(variant)),
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

    @property
    def _most(self) -> int:
        return max(self.done(study) for study in self.studies.values())

    def _want(self, added: Sequence[int]) -> None:
        curves = [self._curve(one) for one in self.tunables.values()] if self.on_grid else []
        self._wanted = grid.points(self.count, [*curves, added])

    def _sampler(self, one: Tunable) -> optuna.samplers.BaseSampler:
        if one.grid:
            return grid.GridSampler(one.centre, lambda: self._wanted)

        def ask(again: int) -> optuna.samplers.BaseSampler:
            return sampler("tpe", self.trials.seed, self.count, one.start, again)

        def refused(params: Mapping[str, Any]) -> bool:
            fields = chosen(one.dimensions, lambda dimension: params[dimension.parameter])
            return self.trials.refuses(one.variant, fields)

        return Distinct(ask, {dimension.parameter: dimension.distribution for dimension in one.dimensions}, refused)

    def _job(self, one: Tunable) -> Job:
        study = self.studies[one.variant]

        def propose(trial: Trial) -> Planned:
            return self._planned(one, suggest(one.dimensions, trial), study, trial.number)

        def replan(trial: FrozenTrial) -> Planned:
            return self._planned(one, _fields(one, trial), study, trial.number)

        def values(result: Mapping[str, Any]) -> list[float]:
            return [number_of(result, self.rule.metric)]

        target = max(self.count, self._most)  # no variant has fewer than another
        if self.on_grid:  # a point that was served twice, by a trial that was lost, leaves none out
            target = len(self._wanted) + self._surplus(one)
        pruned = PRUNED_FROM if self.rule.metric == _WATCHED else None
        return Job(study, target, propose, values, replan, pruned, _WATCHED)

    def _planned(self, one: Tunable, fields: Mapping[str, Any], study: optuna.Study, number: int) -> Planned:
        return self.trials.planned(one.variant, fields, study.study_name, number)

    def _curve(self, one: Tunable) -> dict[int, float | None]:
        """Exponent -> the number to be small, None where there is none (yet)."""
        found: dict[int, float | None] = {}
        for trial in self.studies[one.variant].get_trials(deepcopy=False):
            exponent = grid.offset(one.centre, trial.params[LR]) if LR in trial.params else None
            if exponent is not None:
                value = self._small(trial) if trial.state == TrialState.COMPLETE else None
                found[exponent] = value if value is not None else found.get(exponent)
        return found

    def _surplus(self, one: Tunable) -> int:
        ended = [t for t in self.studies[one.variant].get_trials(deepcopy=False) if LR in t.params]
        return len(ended) - len({grid.offset(one.centre, trial.params[LR]) for trial in ended})

    def _small(self, trial: FrozenTrial) -> float:
        value = float(trial.values[0])
        return value if self.rule.better == "lower" else -value


def definition(trials: Trials, one: Tunable) -> dict[str, Any]:
    """What the trials of a variant have in common, as plain values: a sweep under other terms is another study."""
    arm, rule = trials.arm(one.variant), trials.arms.experiment.decide
    _, entries = choosable(one.dimensions, arm.resolved, lambda place, node: node)
    return {
        "experiment": trials.arms.experiment.name,
        "variant": one.variant,
        "space": {LR: {"grid": one.centre}} if one.grid else written(one.dimensions),
        "objectives": {rule.metric: rule.better},
        "search_seed": trials.seed,
        "settings": arm.resolved.delta(),
        "steps": arm.steps,
        "matched": arm.matched,
        "data": arm.fingerprints["data"],
        "parts": {f"{entry.kind} {entry.name}": [entry.digest, entry.version] for entry in (*arm.used, *entries)},
    }


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _fields(one: Tunable, trial: FrozenTrial) -> dict[str, Any]:
    return chosen(one.dimensions, lambda dimension: trial.params[dimension.parameter])


def _tried(one: Tunable, trial: FrozenTrial) -> dict[str, Any]:
    value = float(trial.values[0]) if trial.state is TrialState.COMPLETE else None
    known = {dimension.parameter for dimension in one.dimensions} <= trial.params.keys()
    return {"trial": trial.number, "fields": _fields(one, trial) if known else dict(trial.params), "value": value}


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
