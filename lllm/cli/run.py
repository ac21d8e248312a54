"""`lllm run`: the loop, from an experiment's file to its table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.options import Experiment as ExperimentName
from lllm.cli.options import Json, Plugins, Words
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan

__all__ = ["again", "arms_of", "resumable", "run", "seeds_of", "train"]


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
    from lllm.cli.sequential import judging, looking, seeds_until, until_decided
    from lllm.cli.tuned import LABEL, OPTION, annotated, print_tuned, refuse_searched, tuned_arms
    from lllm.launch.execute import rehearse
    from lllm.launch.plan import make_plan, rule_of
    from lllm.launch.refusals import refuse_crowd
    from lllm.results.named import check_name

    fine, plugins = True, plugin or []
    if seeds is not None and until is not None:
        raise UserError(f"--seeds {seeds} and --seeds-until-decided {until}: expected one of the two")
    with lasting_stdout(), json_alone(as_json) as found:
        options = {"workers": workers, "nproc": nproc, "nnodes": nnodes, "launcher": launcher}
        options |= {} if probe else {"probe": False}
        arms, variants = arms_of(experiment, words or [], plugins, options)
        tuned = None
        if at_tuned:
            arms, tuned = tuned_arms(arms, variants)
            name = name or LABEL
        if name is not None:
            check_name(name)
        chosen: Sequence[int] = arms.experiment.seeds if seeds is None else seeds_of(seeds)
        chosen = chosen if until is None else seeds_until(arms.experiment, until)
        if tuned is not None:
            refuse_searched(tuned, chosen)
        files = [str(path.resolve()) for path in plugins]
        plan = make_plan(arms, variants, chosen, plugins=files, label=name, force=force, keep_stale=keep_stale)
        refuse_crowd([run.arm for run in plan.pending], min(arms.resolved(variants[0]).run.workers, len(plan.pending)))
        plan = plan if tuned is None else annotated(plan, tuned.extra)
        plan = plan if until is None else looking(plan, until)
        found |= plan_facts(plan)
        print_plan(plan, found["plan"])
        if tuned is not None:
            print_tuned(tuned, plan)
        if detectable := detectable_facts(plan, arms, words or []):
            found["detectable"] = detectable
            print(detectable["text"])
        if dry_run:
            print("no run is begun or written; each command works in this directory, on every machine of the run:")
            found["commands"] = []
            for line in rehearse(plan):
                print(line)
                found["commands"].append(line)
            return
        if until is None:
            fine = train(plan)
        else:
            judge, level = judging(plan, arms, variants), rule_of(plan.experiment).level
            plan, fine, looks = until_decided(plan, until, level, train, judge)
            found |= looks
        typed = [*(words or []), *plugin_words(plugins), *([OPTION] if at_tuned else [])]
        found |= conclude(plan, arms, variants, typed)
    raise typer.Exit(0 if fine else 1)


def train(plan: Plan) -> bool:
    """Train what is pending, shown as it goes; False when something has failed.

    Raises:
        UserError: a launcher cannot start it, said before anything is written. KeyboardInterrupt: the user stopped it.
    """
    from lllm.cli.live import watcher
    from lllm.cli.progress import measuring
    from lllm.launch.begin import timed
    from lllm.launch.execute import execute, worker_command

    for pending in plan.pending[:1]:
        worker_command(pending)
    sys.stdout.flush()  # whoever reads a pipe sees the plan before the training
    with resumable():
        plan = timed(plan, measuring)
        with watcher(plan) as watching:
            return execute(plan, watching)


@contextmanager
def resumable() -> Iterator[None]:
    """Where the user stops it, say how it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; everything is saved. To continue: {again()}", file=sys.stderr)
        raise


def again() -> str:
    """The command line once more."""
    from lllm.launch.plan import arguments

    return shlex.join(["lllm", *arguments()])


def arms_of(
    name: str,
    words: Sequence[str],
    plugins: Sequence[Path],
    options: Mapping[str, object] | None = None,
    measure: bool = True,
) -> tuple[Arms, tuple[str, ...]]:
    """The arms of an experiment under a command line's words and options, and the variants that it names. measure:
    sizes that are matched by time, where they are not known. Nothing is prepared or written yet."""
    from lllm.cli.progress import measuring, preparing
    from lllm.config import load_experiment, split_words
    from lllm.launch.arms import Arms
    from lllm.registry import load_registry

    registry, experiment = load_registry(plugins), load_experiment(name)
    variants, overrides = split_words(words, experiment)
    for option, value in (options or {}).items():  # each is short for an execution setting
        if value is not None:
            overrides.put(f"run.{option}", value, f"--{option}")
    return Arms(experiment, overrides, registry, preparing(), measure=measuring if measure else None), variants


def seeds_of(text: str, option: str = "--seeds") -> list[int]:
    """The seeds that an option lists. Raises UserError where it does not."""
    try:
        seeds = [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text}: expected whole numbers, as in 0,1,2") from None
    if min(seeds) < 0 or max(seeds) >= 2**63 or len(set(seeds)) != len(seeds):
        raise UserError(f"{option} {text}: expected distinct numbers from 0 up to 2**63 - 1")
    return seeds
