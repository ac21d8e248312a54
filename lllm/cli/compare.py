"""`lllm compare`: the table of an experiment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lllm.cli.output import print_json
from lllm.errors import UserError

__all__ = ["compare"]


def compare(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="Names or files of experiments.")],
    all_runs: Annotated[
        bool, typer.Option("--all", help="Show other arms, too: overrides, other budgets, trials.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Where runs are.")] = Path("results"),
    plugin: Annotated[list[Path] | None, typer.Option("--plugin", help="Load a Python file with parts, too.")] = None,
) -> None:
    """Print the table of an experiment, and write it with the numbers it shows: table.md and runs.jsonl."""
    from lllm.launch.expected import expected_rows
    from lllm.results.committed import load_records
    from lllm.results.compare import publish, tabulate
    from lllm.results.table import show

    comparisons = []
    for name in experiments:
        rows = expected_rows(name, plugin or [])
        experiment = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        records = load_records(results, experiment)
        shown = tabulate(records, experiment, rows, all_runs)
        comparisons.append(shown)
        if not as_json:
            show(shown)
        try:
            path = publish(results, experiment, rows, records)
        except UserError as error:  # a folder that may only be read is no reason to hide the table
            print(f"not written: {error}", file=sys.stderr)
            continue
        if path and not as_json:
            print(f"written: {path}")
    if as_json:
        print_json([shown.to_json() for shown in comparisons])
