"""`lllm run`: the loop, from an experiment's file to its table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.options import Experiment as ExperimentName
from lllm.cli.options import Json, Plugins, Words
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.config import Experiment, Tree
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
    keep_stale: Annotated[bool, typer.Option("--keep-stale", help="Reuse finished runs of edited parts.")] = False,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Train an experiment's variants, or what is left of them, and compare.

    Prints the plan first. Finished runs are not run again; interrupted ones continue. With --json stdout has one JSON
    document, at the end (the plan, what came of each run, the rows of the table), and all else goes to stderr.
    """
    from lllm.cli.conclude import conclude
    from lllm.cli.named import plugin_words
    from lllm.cli.output import json_alone, lasting_stdout
    from lllm.cli.plan import plan_facts, print_plan
    from lllm.cli.progress import preparing
    from lllm.config import load_experiment, split_words
    from lllm.launch.arms import Arms
    from lllm.launch.execute import worker_command
    from lllm.launch.plan import make_plan
    from lllm.registry import load_registry
    from lllm.results.named import check_name
    from lllm.results.run import check_writable

    fine, plugins = True, plugin or []
    with lasting_stdout(), json_alone(as_json) as found:
        registry = load_registry(plugins)
        asked = load_experiment(experiment)
        variants, overrides = split_words(words or [], asked)
        _add_options(overrides, {"workers": workers, "nproc": nproc, "nnodes": nnodes, "launcher": launcher})
        arms = Arms(asked, overrides, registry, preparing())
        if name is not None:
            check_name(name)
        plan = make_plan(
            arms,
            variants,
            _seeds(seeds, asked),
            plugins=[str(path.resolve()) for path in plugins],
            label=name,
            force=force,
            keep_stale=keep_stale,
        )
        found |= plan_facts(plan)
        print_plan(plan, found["plan"])
        if dry_run:
            found["commands"] = _rehearsed(plan)
            return
        check_writable(plan.results)
        for pending in plan.pending[:1]:
            worker_command(pending)  # what cannot be started is refused before anything is written
        _set_aside(plan)
        sys.stdout.flush()  # whoever reads a pipe sees the plan before the training
        fine = _train(plan)
        found |= conclude(plan, arms, variants, [*(words or []), *plugin_words(plugins)])
    raise typer.Exit(0 if fine else 1)


def _rehearsed(plan: Plan) -> list[str]:
    """The commands of a dry run, each printed as soon as it is known."""
    from lllm.launch.execute import rehearse

    print("no run is begun or written; each command works in this directory, on every machine of the run:")
    lines = []
    for line in rehearse(plan):
        print(line)
        lines.append(line)
    return lines


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


def _set_aside(plan: Plan) -> None:
    """Make room where a run.json is damaged: nothing is destroyed, and the run is trained anew."""
    from lllm.results.ownership import Owned, own
    from lllm.results.run import retire_damaged

    for run in plan.pending:
        if not (run.path / "run.json").is_file():
            continue
        with suppress(Owned):  # whoever trains it has its own run.json
            with own(run.path):
                pass
            moved = retire_damaged(run.path)
            if moved:
                print(f"{run.path}: its run.json is damaged; it is now {moved.name}, and trained anew", file=sys.stderr)


def _seeds(text: str | None, experiment: Experiment) -> list[int]:
    if text is None:
        return list(experiment.seeds)
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: expected whole numbers, as in 0,1,2") from None
    if min(seeds) < 0 or max(seeds) >= 2**63 or len(set(seeds)) != len(seeds):
        raise UserError(f"--seeds {text}: expected distinct numbers from 0 up to 2**63 - 1")
    return seeds


def _add_options(overrides: Tree, options: Mapping[str, object]) -> None:
    """Options that are short for execution settings."""
    for option, value in options.items():
        if value is not None:
            overrides.put(f"run.{option}", value, f"--{option}")
