"""`lllm run`: the loop, from an experiment's file to its table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Experiment as ExperimentName
from lllm.cli.options import Json, Plugins, Words
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.config import Experiment, Tree
    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan

__all__ = ["add_options", "run", "train"]


def run(
    experiment: ExperimentName,
    words: Words = None,
    seeds: Annotated[str | None, typer.Option(help="As 0,1,2; the experiment's own when left out.")] = None,
    until: Annotated[
        int | None,
        typer.Option("--seeds-until-decided", metavar="MAX", help="Seed after seed until all is decided, MAX at most."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at once.")] = None,
    nproc: Annotated[int | None, typer.Option(help="Processes of each run on this machine, by torchrun.")] = None,
    nnodes: Annotated[int | None, typer.Option(help="Machines of each run.")] = None,
    launcher: Annotated[str | None, typer.Option(help="What starts processes.")] = None,
    name: Annotated[str | None, typer.Option("--as", help="Call these runs so in tables.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and the commands; train nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Train finished and failed runs anew.")] = False,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Prove that no future token is seen.")] = True,
    keep_stale: Annotated[bool, typer.Option("--keep-stale", help="Reuse finished runs of edited parts.")] = False,
    at_tuned: Annotated[bool, typer.Option("--tuned", help="At the settings that `lllm sweep` found.")] = False,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Train an experiment's variants, or what is left of them, and compare.

    Prints the plan first. Finished runs are not run again; interrupted ones continue. With --json stdout has one JSON
    document, at the end (the plan, what came of each run, the rows of the table), and all else goes to stderr.
    """
    from lllm.cli.conclude import conclude
    from lllm.cli.detectable import detectable_facts
    from lllm.cli.named import plugin_words
    from lllm.cli.output import json_alone, lasting_stdout
    from lllm.cli.plan import plan_facts, print_plan
    from lllm.cli.progress import measuring, preparing
    from lllm.cli.sequential import looking, seeds_until
    from lllm.cli.tuned import LABEL, OPTION, print_tuned, refuse_searched, tuned_arms, tuned_plan
    from lllm.config import load_experiment, split_words
    from lllm.launch.arms import Arms
    from lllm.launch.execute import worker_command
    from lllm.launch.plan import make_plan
    from lllm.launch.refusals import refuse_crowd
    from lllm.registry import load_registry
    from lllm.results.named import check_name
    from lllm.results.run import check_writable

    fine, plugins = True, plugin or []
    if seeds is not None and until is not None:
        raise UserError(f"--seeds {seeds} and --seeds-until-decided {until}: expected one of the two")
    with lasting_stdout(), json_alone(as_json) as found:
        registry = load_registry(plugins)
        asked = load_experiment(experiment)
        variants, overrides = split_words(words or [], asked)
        add_options(overrides, {"workers": workers, "nproc": nproc, "nnodes": nnodes, "launcher": launcher})
        add_options(overrides, {} if probe else {"probe": False})
        arms = Arms(asked, overrides, registry, preparing(), measure=measuring)
        tuned = None
        if at_tuned:
            arms, tuned = tuned_arms(arms, variants)
            name = name or LABEL
        if name is not None:
            check_name(name)
        chosen = _seeds(seeds, asked) if until is None else seeds_until(asked, until)
        if tuned is not None:
            refuse_searched(tuned, chosen)
        plan = make_plan(
            arms,
            variants,
            chosen,
            plugins=[str(path.resolve()) for path in plugins],
            label=name,
            force=force,
            keep_stale=keep_stale,
        )
        refuse_crowd([run.arm for run in plan.pending], min(arms.resolved(variants[0]).run.workers, len(plan.pending)))
        plan = plan if tuned is None else tuned_plan(plan, tuned)
        plan = plan if until is None else looking(plan, until)
        found |= plan_facts(plan)
        print_plan(plan, found["plan"])
        if tuned is not None:
            print_tuned(tuned, plan)
        if detectable := detectable_facts(plan, arms, words or []):
            found["detectable"] = detectable
            print(detectable["text"])
        if dry_run:
            found["commands"] = _rehearsed(plan)
            return
        check_writable(plan.results)
        for pending in plan.pending[:1]:
            worker_command(pending)  # what cannot be started is refused before anything is written
        sys.stdout.flush()  # whoever reads a pipe sees the plan before the training
        if until is None:
            fine = train(plan)
        else:
            plan, fine = _looked(plan, until, arms, variants, found)
        typed = [*(words or []), *plugin_words(plugins), *([OPTION] if at_tuned else [])]
        found |= conclude(plan, arms, variants, typed)
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


def _looked(plan: Plan, most: int, arms: Arms, variants: Sequence[str], found: dict[str, Any]) -> tuple[Plan, bool]:
    """Seed after seed: the plan of those that were trained, and whether nothing failed."""
    from lllm.cli.sequential import judging, until_decided
    from lllm.launch.plan import rule_of

    judge = judging(plan, arms, variants)
    plan, fine, looks = until_decided(plan, most, rule_of(plan.experiment).level, train, judge)
    found |= looks
    return plan, fine


def train(plan: Plan) -> bool:
    """Train what is pending, shown as it goes; False when something has failed."""
    from lllm.cli.live import watcher
    from lllm.cli.progress import measuring
    from lllm.launch.begin import timed
    from lllm.launch.execute import execute
    from lllm.launch.plan import arguments

    try:
        plan = timed(plan, measuring)
        with watcher(plan) as watching:
            return execute(plan, watching)
    except KeyboardInterrupt:
        again = shlex.join(["lllm", *arguments()])
        print(f"stopped; everything is saved. To continue: {again}", file=sys.stderr)
        raise


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


def add_options(overrides: Tree, options: Mapping[str, object]) -> None:
    """Options that are short for execution settings."""
    for option, value in options.items():
        if value is not None:
            overrides.put(f"run.{option}", value, f"--{option}")
