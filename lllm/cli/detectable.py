"""What the seeds of a plan can show, said before they are paid for."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lllm.cli.named import plugin_words
from lllm.errors import UserError
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan, expected, rule_of
from lllm.results.compare import Comparison, compare
from lllm.results.noise import read_noise
from lllm.results.statistics.power import detectable
from lllm.results.statistics.sequential import look_level

__all__ = ["detectable_facts"]


def detectable_facts(plan: Plan, arms: Arms, words: Sequence[str] = ()) -> dict[str, Any] | None:
    """The smallest difference that the plan's seeds would find, as plain values; `text` says it in a line. None where
    nothing is compared. words: of the command line, for the command that measures what is not known. Where seeds are
    added until the verdict is in, it is what the last look alone would find.

    difference and sd are None where no spread is known: neither from `lllm noise` of the baseline under the same code,
    data and evaluator, nor from finished runs of these arms.
    """
    experiment, rule = plan.experiment, rule_of(plan.experiment)
    planned = {run.arm.variant: run.arm.identity for run in plan.runs}
    seeds, others = len({run.seed for run in plan.runs}), [v for v in planned if v != experiment.baseline]
    if not others or len(experiment.variants) < 2:
        return None
    # The table's intervals hold for all that the file compares, and only what is run tells their width.
    comparisons = max(len(others), rule.comparisons)
    # These estimate the variance: the baseline's row, planned or not, and one of each other arm, whatever its variants.
    rows = len(set(planned.values())) + (experiment.baseline not in planned)
    facts: dict[str, Any] = {"seeds": seeds, "comparisons": comparisons, "metric": rule.metric, "level": rule.level}
    facts |= {"power": rule.power, "sd": None, "sd_from": "", "floor": rule.floor, "difference": None}
    if seeds == 1:
        return facts | {"text": "one seed: no verdict is possible; --seeds 0,1,2"}
    if rows == 1:
        return facts | {"text": f"{', '.join(others)}: the same arm as '{experiment.baseline}', nothing can differ"}
    sd, source, unused = _spread(plan, arms, list(planned))
    many = f"{seeds} seeds of {len(others) + 1} variants"
    if sd is None:
        settings = [word for word in words if "=" in word]
        command = shlex.join(["lllm", "noise", experiment.name, *settings, *plugin_words(plan.plugins)])
        return facts | {"text": f"{many}: what they can show is not known{unused}; `{command}` measures the noise"}
    level = look_level(rule.level, seeds, seeds) if "looks" in plan.extra else rule.level
    least = detectable(sd, seeds, comparisons, rule.power, level, rule.floor or 0.0, rows, not rule.unpaired)
    floor = "" if rule.floor is None else f"; below {rule.floor:.2g} none counts"
    text = (
        f"{many}: a difference of {least:.2g} {rule.metric} would be found with probability {rule.power:.0%} "
        f"(sd {sd:.2g} {source}{floor}){unused}"
    )
    return facts | {"sd": sd, "sd_from": source, "difference": least, "text": text}


def _spread(plan: Plan, arms: Arms, variants: Sequence[str]) -> tuple[float | None, str, str]:
    """Standard deviation of a run, where it is from, and why not from what `lllm noise` stored."""
    experiment, unused = plan.experiment, ""
    with suppress(UserError):  # a baseline that was not asked for and cannot be built has no noise either
        baseline = arms.arm(experiment.baseline)
        metric, stored = rule_of(experiment).metric, read_noise(plan.results, experiment.name)
        noise = stored.fitting(baseline.identity, baseline.fingerprints, metric)
        if noise is not None:
            return noise.sd, f"from {noise.n} seeds of the baseline", ""
        unused = stored.unused(baseline.identity, baseline.fingerprints, metric)
    found = _of_runs(compare(plan.results, experiment.name, expected(arms, variants, [run.seed for run in plan.runs])))
    return found, "from finished runs" if found is not None else "", unused and f"; {unused}"


def _of_runs(comparison: Comparison) -> float | None:
    """Pooled over the rows that are current."""
    if comparison.family is not None:
        return comparison.family.sd
    rows = [list(row.values.values()) for row in comparison.rows if not row.stale and len(row.values) > 1]
    df = sum(len(row) - 1 for row in rows)
    return math.sqrt(sum((len(row) - 1) * statistics.variance(row) for row in rows) / df) if df else None
