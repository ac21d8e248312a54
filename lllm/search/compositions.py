"""`--search`: one study over compositions, its Pareto front, and the winners that are worth confirming."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

from lllm.config.tree import USE
from lllm.launch.plan import Planned
from lllm.search.composable import choosable
from lllm.search.driver import Job
from lllm.search.objectives import Objective
from lllm.search.sampling import sampler
from lllm.search.space import Dimension, chosen, start, suggest, written
from lllm.search.studies import ended, open_study
from lllm.search.trials import Trials

__all__ = ["Searching"]


class Searching:
    """A search's study. base: the variant that compositions set out from, and in whose directory their runs live;
    count: trials it is to have. Errors as in `open_study`."""

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
            sampler(self.by, trials.seed, count, start(self.dimensions, trials.arms.resolved(base))),
            [one.direction for one in objectives],
        )

    def jobs(self) -> list[Job]:
        def propose(trial: Trial) -> Planned:
            return self._planned(suggest(self.dimensions, trial), trial.number)

        def values(result: Mapping[str, Any]) -> list[float]:
            return [one.value(result) for one in self.objectives]

        return [Job(self.study, self.count, propose, values, self.planned)]

    @property
    def complete(self) -> bool:
        """Whether it has all its trials, each ended in some way."""
        return sum(trial.number < self.count for trial in ended(self.study)) == self.count

    def front(self) -> list[FrozenTrial]:
        """Those that no other one beats in all objectives, best by the first first; alike ones once."""
        found: dict[tuple[float, ...], FrozenTrial] = {}
        for trial in self.study.best_trials:
            found.setdefault(self._small(trial), trial)
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
        return self._effective(chosen(self.dimensions, trial.params))

    def planned(self, trial: FrozenTrial) -> Planned:
        return self._planned(chosen(self.dimensions, trial.params), trial.number)

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

    def _definition(self) -> dict[str, Any]:
        chosen, entries = choosable(
            self.dimensions,
            self.trials.arms.arm(self.base).resolved,
            lambda place, node: self._effective({place: node})[place],
        )
        return {
            **self.trials.definition(self.base, entries),
            "space": written(self.dimensions),
            "chosen": chosen,
            "objectives": {one.name: one.better for one in self.objectives},
        }

    def _small(self, trial: FrozenTrial) -> tuple[float, ...]:
        return tuple(one.small(value) for one, value in zip(self.objectives, trial.values, strict=True))

    def _knee(self, front: Sequence[FrozenTrial]) -> FrozenTrial:
        """The trial nearest to the best of every objective, each scaled to its range on the front."""
        values = np.array([self._small(trial) for trial in front])
        low, high = values.min(0), values.max(0)
        scaled = (values - low) / np.where(high > low, high - low, 1.0)
        return front[int(np.argmin([math.hypot(*row) for row in scaled]))]
