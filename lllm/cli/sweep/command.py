"""`lllm sweep`: equal tuning for every variant, or a search over compositions, confirmed on fresh seeds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lllm.cli.options import Experiment as ExperimentName
from lllm.cli.options import Json, Plugins, Words
from lllm.cli.run import seeds_of
from lllm.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from lllm.cli.sweep.served import Sweep

__all__ = ["sweep"]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MOST = 100_000  # trials
_WINNERS = 3  # of a search that are confirmed


def sweep(
    experiment: ExperimentName,
    words: Words = None,
    trials: Annotated[int, typer.Option(help="Trials: of each variant, or of the search.")] = 8,
    workers: Annotated[int | None, typer.Option(help="Runs at once.")] = None,
    storage: Annotated[str | None, typer.Option(help="sqlite:///FILE or postgresql://USER@HOST/DATABASE.")] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Stop the trials after so long, as 30m or 2h; to be continued.")
    ] = None,
    name: Annotated[str | None, typer.Option("--as", "--study", help="Name of the studies, and of the rows.")] = None,
    all_fields: Annotated[bool, typer.Option("--all-fields", help="Tune what the parts themselves propose.")] = False,
    search: Annotated[bool, typer.Option("--search", help="One search over compositions instead.")] = False,
    objectives: Annotated[str | None, typer.Option(help="Of --search, as bpb,train_flops or acc:higher.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Of --search: tpe or nsga2.")] = None,
    confirm: Annotated[int | None, typer.Option(help="Winners of --search to confirm, at most; else 3.")] = None,
    no_confirm: Annotated[bool, typer.Option("--no-confirm", help="Train no winner on fresh seeds.")] = False,
    confirm_seeds: Annotated[str | None, typer.Option(help="As 0,1,2; else the experiment's, if three.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; train nothing.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Print how this experiment's sweeps stand.")] = False,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Tune every variant with equally many trials of an equal budget, and confirm the best of each on fresh seeds.

    By default the learning rate alone, on a grid of powers of two. The winners are in tuned.yaml, for `lllm run
    --tuned`. With --search: one study over compositions, its Pareto front, and its winners against the baseline.
    The same command continues a sweep that was stopped.
    """
    from lllm.cli.output import json_alone, lasting_stdout

    fine = True
    with lasting_stdout(), json_alone(as_json) as found:
        if trials < 1 or trials > _MOST:
            raise UserError(f"--trials {trials}: expected 1 to {_MOST}")
        if workers is not None and workers < 1:
            raise UserError(f"--workers {workers}: expected at least 1")
        if confirm is not None and confirm < 1:
            raise UserError(f"--confirm {confirm}: expected at least 1, or --no-confirm")
        given: dict[str, Any] = {"--objectives": objectives, "--sampler": sampler, "--all-fields": all_fields or None}
        given |= {"--confirm": confirm, "--confirm-seeds": confirm_seeds}
        _refuse_idle({option for option, value in given.items() if value is not None}, search, no_confirm)
        limit = None if timeout is None else seconds_in(timeout)
        from lllm.cli.sweep.served import prepare, print_status  # loads torch

        asked = prepare(experiment, words or [], plugin or [], workers, storage, limit, name, trials)
        asked.look(closely=dry_run)
        if status:
            found |= print_status(asked)
            return
        seeds = None if no_confirm else confirmed_seeds(confirm_seeds, asked)
        if search:
            from lllm.cli.sweep.search import search_compositions

            goals = None if objectives is None else objectives.split(",")
            fine = search_compositions(asked, found, goals, _sampler(sampler), confirm or _WINNERS, seeds, dry_run)
        else:
            from lllm.cli.sweep.tune import tune

            fine = tune(asked, found, all_fields, seeds, dry_run)
    raise typer.Exit(0 if fine else 1)


def _refuse_idle(given: AbstractSet[str], search: bool, no_confirm: bool) -> None:
    """Raises UserError for an option that would do nothing."""
    idle = [
        ({"--objectives", "--sampler", "--confirm"}, not search, "is of a search; expected --search as well"),
        ({"--all-fields"}, search, "a search turns those of its parts anyway; expected one of them"),
        ({"--confirm", "--confirm-seeds"}, no_confirm, "with --no-confirm nothing is confirmed; expected one of them"),
    ]
    for options, useless, why in idle:
        for option in sorted(options & given):
            if useless:
                raise UserError(f"{option}: {why}")


def seconds_in(text: str) -> float:
    """Seconds of '90', '45s', '30m', '2h' or '1d'.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)", text.strip())
    if not found or float(found[1]) <= 0:
        raise UserError(f"--timeout {text}: expected a time, as in 90, 45s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def confirmed_seeds(text: str | None, asked: Sweep) -> Sequence[int]:
    """The seeds at which winners are trained: those that were asked for, or the experiment's own if there are three.

    Raises:
        UserError: they are no seeds, or the search's own is among them.
    """
    own = asked.experiment.seeds
    if text is None:
        return own if len(own) >= 3 else [0, 1, 2]
    seeds = seeds_of(text, "--confirm-seeds")
    if asked.seed in seeds:
        raise UserError(f"--confirm-seeds {text}: {asked.seed} is the seed of the trials; expected fresh ones")
    return seeds


def _sampler(name: str | None) -> Literal["tpe", "nsga2"] | None:
    match name:
        case None | "tpe" | "nsga2":
            return name
    raise UserError(f"--sampler {name}: expected tpe or nsga2")
