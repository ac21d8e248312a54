"""The end of `lllm run`: the table of what was asked, samples, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from lllm.cli.named import named_runs, named_to
from lllm.cli.plan import print_next, print_samples
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan, expected
from lllm.results.committed import load_records
from lllm.results.compare import Comparison, compare, tabulate_named
from lllm.results.named import semantic_words
from lllm.results.table import show

__all__ = ["conclude"]


def conclude(plan: Plan, arms: Arms, variants: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Show; as plain values what came of each run, and the comparison. words: of the command line, plugins included.

    Nothing but directories of runs is written: what is committed changes by `lllm compare --commit` alone.
    """
    shown = _named(plan, arms, words) if plan.label else _plain(plan, arms, variants, words)
    print_samples(plan)
    print_next(plan, words)
    return {"runs": _outcomes(plan), "comparison": asdict(shown) if shown else None}


def _outcomes(plan: Plan) -> list[dict[str, Any]]:
    """State and final numbers of each run of the plan."""
    records = {
        (record.variant, record.arm, record.seed): record
        for record in load_records(plan.results, plan.experiment.name)
        if record.path is None or record.path.name == f"s{record.seed}"  # not one that was retired
    }
    found = []
    for run in plan.runs:
        record = records.get((run.arm.variant, run.arm.identity, run.seed))
        found.append(
            {
                "run": run.name,
                "variant": run.arm.variant,
                "arm": run.arm.identity,
                "seed": run.seed,
                "path": str(run.path),
                "state": record.state if record else "empty",
                "reason": record.reason if record else "",
                "result": record.result if record else None,
            }
        )
    return found


def _named(plan: Plan, arms: Arms, words: Sequence[str]) -> Comparison | None:
    name = plan.experiment.name
    records = named_to(plan, words, load_records(plan.results, name))
    if not any(record.label == plan.label for record in records):  # nothing was even begun
        return None
    runs = named_runs(plan.experiment, plan.label or "", arms.registry, records)
    shown = tabulate_named(name, runs)
    show(shown)
    return shown


def _plain(plan: Plan, arms: Arms, variants: Sequence[str], words: Sequence[str]) -> Comparison:
    experiment = plan.experiment
    seeds = list(dict.fromkeys(run.seed for run in plan.runs))
    changed = semantic_words(words)
    shown = compare(plan.results, experiment.name, expected(arms, variants, seeds))
    shown = replace(shown, settings=tuple(changed))
    show(shown)
    if changed:
        print("the command line changed settings; --as NAME keeps these rows, in a table of their own")
    return shown
