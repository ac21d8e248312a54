"""`lllm compare`: the table of an experiment."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.output import print_json
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.results.compare import Comparison

    _Found = tuple[Comparison, Callable[[], Path | None]]  # what is shown, and what writes it

__all__ = ["compare"]


def compare(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="Names or files of experiments.")],
    all_runs: Annotated[
        bool, typer.Option("--all", help="Show other arms, too: overrides, other budgets, trials.")
    ] = False,
    name: Annotated[str | None, typer.Option("--as", help="The table of the runs of that name instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Where runs are.")] = Path("results"),
    plugin: Annotated[list[Path] | None, typer.Option("--plugin", help="Load a Python file with parts, too.")] = None,
) -> None:
    """Print the table of an experiment, and write it with the numbers it shows: table.md and runs.jsonl.

    With --as NAME: of the runs of that name, whatever they changed of the experiment's file, and table.NAME.md.
    """
    from lllm.results.table import show

    comparisons = []
    for experiment in experiments:
        if name is None:
            shown, write = _plain(experiment, all_runs, results, plugin or [])
        else:
            shown, write = _named(experiment, name, all_runs, results, plugin or [])
        comparisons.append(shown)
        if not as_json:
            show(shown)
        try:
            path = write()
        except UserError as error:  # a folder that may only be read is no reason to hide the table
            print(f"not written: {error}", file=sys.stderr)
            continue
        if path and not as_json:
            print(f"written: {path}")
    if as_json:
        print_json([shown.to_json() for shown in comparisons])


def _plain(name: str, all_runs: bool, results: Path, plugins: list[Path]) -> _Found:
    from lllm.launch.expected import expected_rows
    from lllm.results.committed import load_records
    from lllm.results.compare import publish, tabulate

    rows = expected_rows(name, plugins)
    experiment = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    records = load_records(results, experiment)
    shown = tabulate(records, experiment, rows, all_runs)
    return shown, lambda: publish(results, experiment, rows, records)


def _named(name: str, label: str, all_runs: bool, results: Path, plugins: list[Path]) -> _Found:
    from lllm.cli.named import named_runs
    from lllm.config import load_experiment
    from lllm.registry import load_registry
    from lllm.results.committed import load_records
    from lllm.results.compare import publish_named, tabulate_named
    from lllm.results.named import check_name

    experiment = load_experiment(name)
    records = load_records(results, experiment.name)
    runs = named_runs(experiment, check_name(label), load_registry(plugins), records)
    return tabulate_named(experiment.name, runs, all_runs), lambda: publish_named(results, experiment.name, runs)
