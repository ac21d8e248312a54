"""The end of `lllm run`: the table of what was asked, what of it is written, samples, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lllm.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan
    from lllm.results.compare import Comparison

    _Concluded = tuple[Comparison | None, Path | None]  # what is shown, and where it is written

__all__ = ["conclude"]


def conclude(plan: Plan, arms: Arms, variants: Sequence[str], words: Sequence[str]) -> dict[str, Any]:
    """Show and write; as plain values what came of each run, the comparison, and the table's path.

    words: of the command line, plugins included.
    table.md has what the experiment's file defines and nothing else; what the command line changed is written under the
    name that --as gave it, and without one not at all.
    """
    from lllm.cli.plan import print_next, print_samples

    shown, table = _named(plan, arms, words) if plan.label else _plain(plan, arms, variants, words)
    print_samples(plan)
    if table:
        print(f"table: {table}")
    print_next(plan, words)
    return {
        "runs": _outcomes(plan),
        "comparison": shown.to_json() if shown else None,
        "table": str(table) if table else None,
    }


def _outcomes(plan: Plan) -> list[dict[str, Any]]:
    """State and final numbers of each run of the plan."""
    from lllm.results.committed import load_records

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


def _named(plan: Plan, arms: Arms, words: Sequence[str]) -> _Concluded:
    from lllm.cli.named import named_runs, named_to
    from lllm.results.committed import load_records
    from lllm.results.compare import publish_named, tabulate_named
    from lllm.results.table import show

    name = plan.experiment.name
    records = named_to(plan, words, load_records(plan.results, name))
    if not any(record.label == plan.label for record in records):  # nothing was even begun
        return None, None
    runs = named_runs(plan.experiment, plan.label or "", arms.registry, records)
    shown = tabulate_named(name, runs)
    show(shown)
    return shown, publish_named(plan.results, name, runs)


def _plain(plan: Plan, arms: Arms, variants: Sequence[str], words: Sequence[str]) -> _Concluded:
    from lllm.launch.plan import expected
    from lllm.results.compare import compare, publish
    from lllm.results.named import semantic_words
    from lllm.results.table import show

    experiment = plan.experiment
    seeds = list(dict.fromkeys(run.seed for run in plan.runs))
    changed = semantic_words(words)
    shown = compare(plan.results, experiment.name, expected(arms, variants, seeds))
    shown = replace(shown, settings=tuple(changed))
    show(shown)
    if changed:
        print("not written: the command line changed settings; --as NAME keeps these rows, in a table of their own")
        return shown, None
    try:
        rows = expected(arms, list(experiment.variants), experiment.seeds)
    except UserError as error:  # a variant that was not asked for and cannot be built is no reason to fail
        print(f"table not written: {error}", file=sys.stderr)
        return shown, None
    return shown, publish(plan.results, experiment.name, rows)
