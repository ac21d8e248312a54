"""A committed row as an arm to be trained again: its own settings and step count, under today's parts and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lllm.config import Experiment, Tree, restore
from lllm.config.schema import Decide
from lllm.errors import UserError
from lllm.identity import arm as arm_of
from lllm.launch.arms import Arm, Arms, arm_of_setup
from lllm.registry import Registry
from lllm.results.records import Record
from lllm.train.setup import Setup

__all__ = ["recorded_arms"]


def recorded_arms(
    record: Record,
    registry: Registry,
    results: Path,
    origin: str,
    progress: Callable[[str, int], None] = lambda split, done: None,
) -> tuple[Arms, Arm]:
    """The arm of a recorded run whose results go below `results`, and an experiment that has it alone. origin: where
    the record is, for messages.

    Raises:
        UserError: the record lacks what is needed; a part, a setting or a corpus that it names is no longer there.
    """
    steps = record.info.get("steps")
    if not record.config or not isinstance(steps, int):
        raise UserError(f"{origin}: no settings or steps recorded; expected a line that lllm wrote")
    execution: dict[str, Any] = {"results": str(results)}
    resolved = restore(record.experiment, record.variant, record.config, execution, registry, origin)
    arm = arm_of_setup(record.variant, Setup.prepare(registry, resolved, progress))
    budget: dict[str, int | float] = {"steps": steps}
    if resolved.budget.unit == "seconds":
        budget = {"seconds": float(resolved.budget.amount)}
    arm = replace(arm, steps=steps, identity=arm_of(arm.setup.delta(), budget))
    alone = Experiment(
        name=record.experiment,
        path=Path(origin),
        hypothesis=f"{record.name}, trained again, gives the recorded numbers.",
        base=None,
        composition=Tree(),
        variants={record.variant: Tree()},
        baseline=record.variant if record.info.get("baseline") else "",
        seeds=(record.seed,),
        match=None,
        decide=Decide(),
    )
    arms = Arms(alone, Tree(), registry, progress)
    arms.adopt(arm)
    return arms, arm
