"""`lllm compare`: the table of an experiment."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lllm.cli.options import Plugins, Results
from lllm.cli.output import print_json
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.results.records import Record
    from lllm.results.rows import Comparison

__all__ = ["Found", "compare", "find"]


@dataclass(frozen=True)
class Found:
    """A table, the experiment's name, all its records, and what writes the table and the numbers it shows."""

    shown: Comparison
    experiment: str
    records: Sequence[Record]
    write: Callable[[], Path | None]


Format = Literal["terminal", "markdown", "csv", "json"]


def compare(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT...", help="Names or files of experiments.")],
    all_runs: Annotated[
        bool, typer.Option("--all", help="Show other arms, too: overrides, other budgets, trials.")
    ] = False,
    name: Annotated[str | None, typer.Option("--as", help="The table of the runs of that name instead.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How it is printed.")] = "terminal",
    columns: Annotated[str | None, typer.Option(help="Which, as variant,bpb,difference,half,p,verdict.")] = None,
    sort: Annotated[str | None, typer.Option(help="Order rows by a column; -COLUMN: the largest first.")] = None,
    verdict: Annotated[
        bool, typer.Option("--verdict", help="Exit with code 2, and say why, when a row has no verdict.")
    ] = False,
    commit: Annotated[
        bool, typer.Option("--commit", help="Write the table and its numbers where they are committed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Print the table of an experiment; with --commit write what a repository keeps of it: table.md and runs.jsonl.

    With --as NAME: of the runs of that name, whatever they changed of the experiment's file, and table.NAME.md. Each
    row is judged against its own experiment's baseline; rows of two experiments are never ranked.
    """
    from lllm.launch.timing import Timings
    from lllm.results.columns import chosen, sorted_by
    from lllm.results.table import comma_separated, markdown, show

    form = "json" if as_json else form
    wanted = None if columns is None else [key.strip() for key in columns.split(",")]
    with _uncollected():
        every = [find(experiment, name, all_runs, results, plugin or []) for experiment in experiments]
        shown = [sorted_by(found.shown, sort) for found in every]
        for comparison in shown:
            chosen(comparison, wanted)  # an unknown column is refused in every format, before anything is written
        for found, comparison in zip(every, shown, strict=True):
            if form == "terminal":
                show(comparison, wanted)
            elif form == "markdown":
                print(markdown(comparison, wanted))
            if commit and (path := found.write()):
                Timings(results, found.experiment).commit()
                if form == "terminal":
                    print(f"written: {path} and {path.parent / 'runs.jsonl'}")
    if form == "json":
        print_json([asdict(comparison) for comparison in shown])
    elif form == "csv":
        print(comma_separated(shown, wanted), end="")
    if verdict:
        _refuse_undecidable(shown)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which would walk through 10,000 records again and again and find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def find(name: str, label: str | None, all_runs: bool, results: Path, plugins: list[Path]) -> Found:
    """The table of an experiment, or of its runs that are called `label`; errors as in `named`."""
    from lllm.results.committed import load_records
    from lllm.results.compare import publish, publish_named, tabulate, tabulate_named

    if label is not None:
        from lllm.cli.named import named_runs
        from lllm.config import load_experiment
        from lllm.registry import load_registry
        from lllm.results.named import check_name

        asked = load_experiment(name)
        experiment, records = asked.name, load_records(results, asked.name)
        runs = named_runs(asked, check_name(label), load_registry(plugins), records)
        named = tabulate_named(experiment, runs)
        return Found(named, experiment, records, lambda: publish_named(results, experiment, runs))
    from lllm.launch.now import expected_rows

    rows = expected_rows(name, plugins, results)
    experiment = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    records = load_records(results, experiment)
    shown = tabulate(records, experiment, rows, all_runs)
    table = None if all_runs else shown
    return Found(shown, experiment, records, lambda: publish(results, experiment, rows, records, table))


def _refuse_undecidable(shown: Sequence[Comparison]) -> None:
    """Raises UserError for the first row about which nothing can be said."""
    for comparison in shown:
        for row in comparison.rows:
            if row.verdict.word in ("none", "not comparable") and not (row.stale or row.other):
                raise UserError(
                    f"{comparison.title}, row '{row.variant}': {row.verdict.text}; expected runs that can be judged: "
                    "the baseline's data, kind of likelihood and budget, and at least two seeds that both have"
                )
