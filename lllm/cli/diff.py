"""`lllm diff`: what sets two runs, a run and its experiment's file, or two experiments apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.options import Json, Plugins
from lllm.cli.output import print_json
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.results.diff import Difference, ExperimentDifference
    from lllm.results.run import Run

    Thing = Run | str  # a run, or the name or file of an experiment

__all__ = ["diff"]

_NAME = "A run's directory or any unambiguous part of its name, or an experiment's name or file."


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_NAME)],
    b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="The same; without it, what A's experiment defines now.")
    ] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Compare the nats of each validation document.")] = False,
    curves: Annotated[bool, typer.Option("--curves", help="Find the first logged step at which they part.")] = False,
    plugin: Plugins = None,
    as_json: Json = False,
    results: Annotated[Path, typer.Option("--results", help="Where runs are.")] = Path("results"),
) -> None:
    """Say what differs.

    Two runs: config, code with the changed lines of each part, data, environment, result. A run alone, or with an
    experiment: the run against its variant as the file defines it now. Two experiments: question, variants, settings,
    results. What is a run's whole name, directory or --as name is that run; otherwise an experiment of that name comes
    before a run that has it as part of its name.
    """
    from lllm.cli.differences import print_difference, print_experiments
    from lllm.results.diff import Difference

    found = _found(a, b, docs, curves, plugin or [], results)
    if as_json:
        print_json(asdict(found))
    elif isinstance(found, Difference):
        print_difference(found)
    else:
        print_experiments(found)


def _found(
    a: str, b: str | None, docs: bool, curves: bool, plugins: Sequence[Path], results: Path
) -> Difference | ExperimentDifference:
    from lllm.results.diff import diff as of_runs

    things = [_meant(text, results) for text in (a, b) if text is not None]
    runs = [thing for thing in things if not isinstance(thing, str)]
    experiments = [thing for thing in things if isinstance(thing, str)]
    if len(runs) == 2:
        return of_runs(*runs, docs=docs, curves=curves)
    if docs or curves:
        raise UserError(f"{'--docs' if docs else '--curves'}: compares two runs; expected a run and a second one")
    if len(experiments) == 2:
        return _of_experiments(experiments[0], experiments[1], plugins, results)
    if not runs:
        raise UserError(f"diff {a}: an experiment alone; expected a second one, or a run")
    return _with_now(runs[0], experiments[0] if experiments else None, plugins)


def _meant(text: str, results: Path) -> Thing:
    """What a user named: see `diff`.

    Raises:
        UserError: nothing, or several runs.
    """
    from lllm.config import list_experiments
    from lllm.results.committed import load_records
    from lllm.results.find import find_run

    known = [listed.name for listed in list_experiments()]
    if text.endswith((".yaml", ".yml")):
        return text
    if text in known and not os.path.isfile(os.path.join(text, "run.json")):
        wholly = any(text in (record.name, record.label) for record in load_records(results) if not record.aside)
        if not wholly:
            return text
    return find_run(results, text, known)


def _of_experiments(a: str, b: str, plugins: Sequence[Path], results: Path) -> ExperimentDifference:
    from lllm.launch.now import experiment_now
    from lllm.results.diff import diff_experiments

    return diff_experiments(experiment_now(a, results, plugins), experiment_now(b, results, plugins))


def _with_now(run: Run, experiment: str | None, plugins: Sequence[Path]) -> Difference:
    """The run against its variant as its own experiment, or another one, defines it, with the run's plugins as well."""
    from lllm.launch.now import variant_now
    from lllm.results.diff import diff_now, inner

    own = inner(run.info, "config", "execution").get("plugins")
    every = [*(own if isinstance(own, list) else []), *map(str, plugins)]
    return diff_now(run, variant_now(experiment or run.experiment, run.variant, list(dict.fromkeys(every))))
