"""What runs cost, before they begin: seconds of one, and memory of several at once."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from lllm.errors import UserError
from lllm.launch.arms import Arm
from lllm.results.table import si
from lllm.train.world import device_of

__all__ = ["refuse_crowd", "seconds_of", "worker_bytes"]

_PROCESS = 300_000_000  # an interpreter with torch, before it holds a model
_OF_PARAMETER = 16  # float32 weights, gradients and two moments
_KEPT = 3  # tensors that are kept for the backward pass, for each that a contraction makes
_FLOAT = 4


def seconds_of(arm: Arm, rate: float, step: float | None = None) -> float:
    """Seconds that a run of the arm takes at `rate` FLOPs per second, or `step` seconds a step where that is known."""
    if arm.steps is None:
        return float(arm.resolved.budget.amount)
    return arm.steps * (step or arm.flops_per_step / rate) + arm.stage_flops / rate


def worker_bytes(arm: Arm) -> int:
    """A rough estimate of the memory of a run's process: parameters with gradients and optimizer state, and what the
    forward pass leaves for the backward pass, of the rows that are trained at once.

    A contraction over `width` numbers costs 2 * width FLOPs for each number that it makes, and a third of a training
    step is the forward pass.
    """
    resolved = arm.resolved
    share = min(1.0, (resolved.run.micro_batch or resolved.train.batch) / resolved.train.batch)
    made = arm.flops_per_step / 3 / (2 * resolved.model.width)
    return int(_PROCESS + _OF_PARAMETER * arm.parameters + share * _KEPT * _FLOAT * made)


def refuse_crowd(arms: Sequence[Arm], workers: int) -> None:
    """Raises UserError where so many runs at once need more memory than there is. On GPUs a worker has its own."""
    if workers <= 1 or device_of(arms[0].resolved.run.device).type != "cpu":
        return
    processes = arms[0].resolved.run.nproc
    each, free = max(map(worker_bytes, arms)) * processes, psutil.virtual_memory().available
    if each * workers > free:
        fit = max(1, int(free // each))
        raise UserError(
            f"--workers {workers}: about {si(each)}B for each run, {si(each * workers)}B in all, and {si(free)}B of "
            f"memory are free; expected at most {fit}"
        )
