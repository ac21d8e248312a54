"""`--search`: one study over compositions, its Pareto front, and the winners that are worth confirming."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from optuna.trial import FrozenTrial, Trial, TrialState

from lllm.config.tree import USE, Tree
from lllm.search.composable import choosable
from lllm.search.driver import Job
from lllm.search.objectives import Objective
from lllm.search.sampling import sampler
from lllm.search.space import Dimension, chosen, suggest, written
from lllm.search.studies import open_study
from lllm.search.trials import Trials

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from lllm.launch.plan import Planned

__all__ = ["Searching"]


class Searching:
    """A search's study. base: the variant that compositions set out from, and in whose directory their runs live;
    count: trials it is to have.

    Raises:
        UserError: a study of that name has another definition.
    """

    def __init__(
        self,
        trials: Trials,
        base: str,
        dimensions: Sequence[Dimension],
        objectives: Sequence[Objective],
        storage: BaseStorage,
        name: str,
        count: int,
        by: Literal["tpe", "nsga2"] | None = None,
    ) -> None:
        self.trials, self.base, self.count = trials, base, count
        self.dimensions, self.objectives = tuple(dimensions), tuple(objectives)
        self.by: Literal["tpe", "nsga2"] = by or ("nsga2" if len(objectives) > 1 else "tpe")
        self.study = open_study(
            storage,
            f"{trials.arms.experiment.name}/{name}",
            self._definition(),
            sampler(self.by, trials.seed, count, self._start()),
            [one.direction for one in objectives],
        )

    def jobs(self) -> list[Job]:
        """What is to be served."""

        def propose(trial: Trial) -> Planned:
            return self._planned(suggest(self.dimensions, trial), trial.number)

        def replan(trial: FrozenTrial) -> Planned:
            return self.planned(trial)

        def values(result: Mapping[str, Any]) -> list[float]:
            return [one.value(result) for one in self.objectives]

        return [Job(self.study, self.count, propose, values, replan)]

    @property
    def complete(self) -> bool:
        """Whether it has all its trials, each ended in some way."""
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number < self.count]
        return len(ended) == self.count and all(trial.state.is_finished() for trial in ended)

    def finished(self) -> list[FrozenTrial]:
        """Complete trials, by number."""
        return self.study.get_trials(False, (TrialState.COMPLETE,))

    def front(self) -> list[FrozenTrial]:
        """Those that no other one beats in all objectives, best by the first first; alike ones once."""
        found: dict[tuple[float, ...], FrozenTrial] = {}
        for trial in self.finished():
            mine = self._small(trial)
            others = [self._small(other) for other in self.finished()]
            if not any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in others):
                found.setdefault(mine, trial)
        return [found[key] for key in sorted(found)]

    def winners(self, most: int) -> dict[str, FrozenTrial]:
        """Up to `most` different trials of the front: the best by the first objective, the knee, then the best by the
        other ones."""
        front = self.front()
        if not front:
            return {}
        picks = [(f"best_{self.objectives[0].name}", front[0]), ("knee", self._knee(front))]
        for i, one in enumerate(self.objectives[1:], start=1):
            picks.append((f"best_{one.name}", min(front, key=lambda trial: self._small(trial)[i])))
        found: dict[str, FrozenTrial] = {}
        for name, trial in picks:
            if all(trial.number != other.number for other in found.values()) and len(found) < most:
                found[name] = trial
        return found

    def fields(self, trial: FrozenTrial) -> dict[str, Any]:
        """What the trial sets of the base composition."""
        return self._effective(self._chosen(trial))

    def planned(self, trial: FrozenTrial) -> Planned:
        """The run of a trial."""
        return self._planned(self._chosen(trial), trial.number)

    def _chosen(self, trial: FrozenTrial) -> dict[str, Any]:
        return chosen(self.dimensions, lambda one: trial.params[one.parameter])

    def _planned(self, fields: Mapping[str, Any], number: int) -> Planned:
        return self.trials.planned(self.base, self._effective(fields), self.study.study_name, number)

    def _effective(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields, where a chosen part stands as the experiment's own composition has it, if it has that part; what
        the base variant says of the place is for the base variant's part and its neighbours."""
        composition = self.trials.arms.experiment.composition
        found = dict(fields)
        for path, value in fields.items():
            node = composition.get(path)
            if isinstance(node, dict) and node.get(USE) == value:
                found[path] = {name: inner for name, inner in node.items() if f"{path}.{name}" not in fields}
        return found

    def _start(self) -> dict[str, Any]:
        """The base composition in Optuna's terms, as far as it can be said in them: the first trial."""
        resolved = self.trials.arms.resolved(self.base)
        parts = {place: spec.name for place, spec in resolved.nodes().items()}
        full = dict(Tree(resolved.semantic()).leaves())
        found = {one.parameter: parts.get(one.path, full.get(one.path)) for one in self.dimensions}
        found |= {one.parameter: resolved.lr for one in self.dimensions if one.path == "train.lr"}
        return found

    def _definition(self) -> dict[str, Any]:
        arm = self.trials.arm(self.base)

        def stands(place: str, node: Any) -> Any:
            return self._effective({place: node})[place]

        chosen, entries = choosable(self.dimensions, arm.resolved, stands)
        return {
            "experiment": self.trials.arms.experiment.name,
            "variant": self.base,
            "space": written(self.dimensions),
            "chosen": chosen,
            "objectives": {one.name: one.better for one in self.objectives},
            "search_seed": self.trials.seed,
            "settings": arm.resolved.delta(),
            "steps": arm.steps,
            "data": arm.fingerprints["data"],
            "parts": {f"{entry.kind} {entry.name}": [entry.digest, entry.version] for entry in (*arm.used, *entries)},
        }

    def _small(self, trial: FrozenTrial) -> tuple[float, ...]:
        return tuple(one.small(value) for one, value in zip(self.objectives, trial.values, strict=True))

    def _knee(self, front: Sequence[FrozenTrial]) -> FrozenTrial:
        """The trial nearest to the best of every objective, each scaled to its range on the front."""
        values = np.array([self._small(trial) for trial in front])
        low, high = values.min(0), values.max(0)
        scaled = (values - low) / np.where(high > low, high - low, 1.0)
        return front[int(np.argmin([math.hypot(*row) for row in scaled]))]
