"""`lllm run`: the loop, from an experiment's file to its table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.options import Experiment as ExperimentName
from lllm.cli.options import Plugins, Words
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.config import Experiment, Tree
    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan

__all__ = ["run"]


def run(
    experiment: ExperimentName,
    words: Words = None,
    seeds: Annotated[str | None, typer.Option(help="As 0,1,2; the experiment's own when left out.")] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at once.")] = None,
    nproc: Annotated[int | None, typer.Option(help="Processes of each run on this machine, by torchrun.")] = None,
    nnodes: Annotated[int | None, typer.Option(help="Machines of each run.")] = None,
    launcher: Annotated[str | None, typer.Option(help="What starts processes.")] = None,
    name: Annotated[str | None, typer.Option("--as", help="Call these runs so in tables.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and the commands; train nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Train finished and failed runs anew.")] = False,
    keep_stale: Annotated[bool, typer.Option("--keep-stale", help="Reuse runs whose parts were edited.")] = False,
    plugin: Plugins = None,
) -> None:
    """Train an experiment's variants, or what is left of them, and compare.

    Prints the plan first. Finished runs are not run again; interrupted ones continue.
    """
    from lllm.cli.plan import print_plan
    from lllm.cli.progress import preparing
    from lllm.config import load_experiment, split_words
    from lllm.launch.arms import Arms
    from lllm.launch.execute import worker_command
    from lllm.launch.plan import make_plan
    from lllm.registry import load_registry
    from lllm.results.run import check_writable

    registry = load_registry(plugin or [])
    asked = load_experiment(experiment)
    variants, overrides = split_words(words or [], asked)
    options = {"workers": workers, "nproc": nproc, "nnodes": nnodes, "launcher": launcher}
    _add_options(overrides, options)
    arms = Arms(asked, overrides, registry, preparing())
    plan = make_plan(
        arms,
        variants,
        _seeds(seeds, asked),
        plugins=[str(path.resolve()) for path in plugin or []],
        label=name,
        force=force,
        keep_stale=keep_stale,
    )
    print_plan(plan)
    if dry_run:
        for pending in plan.pending:
            print(shlex.join(worker_command(pending)))
        return
    check_writable(plan.results)
    for pending in plan.pending[:1]:
        worker_command(pending)  # what cannot be started is refused before anything is written
    fine = _train(plan)
    _conclude(plan, arms, variants)
    raise typer.Exit(0 if fine else 1)


def _train(plan: Plan) -> bool:
    from lllm.cli.live import watcher
    from lllm.launch.execute import execute

    try:
        with watcher(plan) as watching:
            return execute(plan, watching)
    except KeyboardInterrupt:
        again = shlex.join(["lllm", *sys.argv[1:]])
        print(f"stopped; everything is saved. To continue: {again}", file=sys.stderr)
        raise


def _conclude(plan: Plan, arms: Arms, variants: tuple[str, ...]) -> None:
    """The table of what was asked, samples, and what to do next."""
    from lllm.cli.plan import print_next, print_samples
    from lllm.launch.plan import expected
    from lllm.results.compare import compare, publish
    from lllm.results.table import show

    seeds = list(dict.fromkeys(run.seed for run in plan.runs))
    rows = expected(arms, variants, seeds)
    show(compare(plan.results, plan.experiment.name, rows))
    print_samples(plan)
    table = publish(plan.results, plan.experiment.name, rows)
    if table:
        print(f"table: {table}")
    print_next(plan)


def _seeds(text: str | None, experiment: Experiment) -> list[int]:
    if text is None:
        return list(experiment.seeds)
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: expected whole numbers, as in 0,1,2") from None
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds {text}: expected distinct numbers from 0 up")
    return seeds


def _add_options(overrides: Tree, options: Mapping[str, object]) -> None:
    """Options that are short for execution settings."""
    for option, value in options.items():
        if value is not None:
            overrides.put(f"run.{option}", value, f"--{option}")
