"""That an experiment is decided by a number which its runs will have, asked before any is trained."""

from __future__ import annotations

from itertools import islice

from lllm.config.schema import Decide
from lllm.errors import UserError, nearest
from lllm.launch.arms import Arm
from lllm.registry.build import blaming
from lllm.results.rows import NUMBERS
from lllm.train.evaluate import evaluate

__all__ = ["refuse_metric", "refuse_rule"]

_OF_EVERY_RUN = ("bpb", *NUMBERS)


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
