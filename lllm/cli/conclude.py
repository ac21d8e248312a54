"""The end of `lllm run`: the table of what was asked, what of it is written, samples, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lllm.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan

__all__ = ["conclude"]


def conclude(plan: Plan, arms: Arms, variants: Sequence[str], words: Sequence[str]) -> None:
    """Show and write. words: of the command line, plugins included.

    table.md has what the experiment's file defines and nothing else; what the command line changed is written under the
    name that --as gave it, and without one not at all.
    """
    from lllm.cli.plan import print_next, print_samples

    table = _named(plan, arms, words) if plan.label else _plain(plan, arms, variants, words)
    print_samples(plan)
    if table:
        print(f"table: {table}")
    print_next(plan, words)


def _named(plan: Plan, arms: Arms, words: Sequence[str]) -> Path | None:
    from lllm.cli.named import named_runs, named_to
    from lllm.results.committed import load_records
    from lllm.results.compare import publish_named, tabulate_named
    from lllm.results.table import show

    name = plan.experiment.name
    records = named_to(plan, words, load_records(plan.results, name))
    if not any(record.label == plan.label for record in records):  # nothing was even begun
        return None
    runs = named_runs(plan.experiment, plan.label or "", arms.registry, records)
    show(tabulate_named(name, runs))
    return publish_named(plan.results, name, runs)


def _plain(plan: Plan, arms: Arms, variants: Sequence[str], words: Sequence[str]) -> Path | None:
    from lllm.launch.plan import expected
    from lllm.results.compare import compare, publish
    from lllm.results.named import semantic_words
    from lllm.results.table import show

    experiment = plan.experiment
    seeds = list(dict.fromkeys(run.seed for run in plan.runs))
    shown = compare(plan.results, experiment.name, expected(arms, variants, seeds))
    changed = semantic_words(words)
    show(replace(shown, settings=tuple(changed)))
    if changed:
        print("not written: the command line changed settings; --as NAME keeps these rows, in a table of their own")
        return None
    try:
        rows = expected(arms, list(experiment.variants), experiment.seeds)
    except UserError as error:  # a variant that was not asked for and cannot be built is no reason to fail
        print(f"table not written: {error}", file=sys.stderr)
        return None
    return publish(plan.results, experiment.name, rows)
