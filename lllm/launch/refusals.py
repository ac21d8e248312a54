"""What is refused before any run is trained: more memory than there is, a rule by a number that no run will have."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import psutil

from lllm.config.schema import Decide
from lllm.errors import UserError, nearest
from lllm.launch.arm import Arm
from lllm.registry.build import blaming
from lllm.results.rows import NUMBERS
from lllm.results.table import si
from lllm.train.evaluate import evaluate
from lllm.train.world import device_of

__all__ = ["refuse_crowd", "refuse_metric", "refuse_rule"]

_PROCESS = 300_000_000  # an interpreter with torch, before it holds a model
_OF_PARAMETER = 16  # float32 weights, gradients and two moments
_KEPT = 3  # tensors that are kept for the backward pass, for each that a contraction makes
_FLOAT = 4
_OF_EVERY_RUN = ("bpb", *NUMBERS)


def _worker_bytes(arm: Arm) -> int:
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
    each, free = max(map(_worker_bytes, arms)) * processes, psutil.virtual_memory().available
    if each * workers > free:
        fit = max(1, int(free // each))
        raise UserError(
            f"--workers {workers}: about {si(each)}B for each run, {si(each * workers)}B in all, and {si(free)}B of "
            f"memory are free; expected at most {fit}"
        )


def refuse_rule(arm: Arm, decide: Decide) -> None:
    """Raises UserError as `refuse_metric`, and where it is not said which of two numbers of a corpus or a head is
    better."""
    refuse_metric(arm, decide.metric)
    if decide.metric not in _OF_EVERY_RUN and "better" not in decide.model_fields_set:
        raise UserError(
            f"decide.metric = '{decide.metric}': which is better is not known; expected better as well, as in "
            f"decide: {{metric: {decide.metric}, better: higher}}"
        )


def refuse_metric(arm: Arm, metric: str, where: str = "decide.metric") -> None:
    """Raises UserError where neither every run nor this arm's corpus or head has the metric. Scores one row, and only
    where a metric of theirs is asked for."""
    if metric in _OF_EVERY_RUN:
        return
    setup = arm.setup
    with blaming(setup.registry):
        found = evaluate(
            setup.model(0),
            [batch.slice(0, 1) for batch in islice(setup.valid(), 1)],
            documents=setup.documents,
            bytes_per_token=setup.bytes_per_token,
            corpus=setup.resolved.build_data().part("corpus"),
        )
    if metric not in found.metrics:
        measured = f"measure {', '.join(found.metrics)}" if found.metrics else "measure none"
        raise UserError(
            f"{where} = '{metric}': runs of variant '{arm.variant}' will not have it, its corpus and head "
            f"{measured}{nearest(metric, [*_OF_EVERY_RUN, *found.metrics])}"
        )
