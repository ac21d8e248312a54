"""`lllm probe`: the proof of finished runs, at length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Device, Json, Plugins, Results
from lllm.cli.output import json_alone, print_table
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.results.run import Run

__all__ = ["probe"]


def probe(
    name: Annotated[str, typer.Argument(metavar="RUN|EXPERIMENT", help="A run, or all finished ones of one.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often, each time on other text and cut elsewhere.")] = 4,
    device: Device = "auto",
    results: Results = Path("results"),
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Probe trained weights, older runs' too: no future token reaches a prediction, and what is scored generates.

    Adds to probe.json of each run. Exit code 1 when one fails.
    """
    from lllm import load
    from lllm.cli.progress import progress
    from lllm.train.probing import add_rounds, text_of

    fine = True
    with json_alone(as_json) as found:
        runs = _runs(results, name)
        rows: list[list[str]] = []
        with progress("probing", len(runs) * rounds, "probes") as done:
            for place, run in enumerate(runs):
                loaded = load(str(run.path), device, results=results, plugins=plugin or [])
                made: list[dict[str, Any]] = []
                for record in add_rounds(loaded, rounds):
                    made.append(record)
                    done(place * rounds + len(made))
                worst = max(made, key=lambda record: (not record["passed"], record["largest"]))
                fine = fine and bool(worst["passed"])
                found[run.name] = made
                said = "passed" if worst["passed"] else f"not causal: {text_of(worst)}"
                covered = f"{worst['covered']} of {worst['context']}"
                rows.append([run.name, str(len(made)), f"{worst['largest']:.1e}", covered, said])
        print_table(["run", "probes", "largest, nats", "positions", "found"], rows, right=(1, 2))
    raise typer.Exit(0 if fine else 1)


def _runs(results: Path, name: str) -> list[Run]:
    """The finished runs of an experiment that has a folder of results, or the one run that is meant."""
    from lllm.results.find import find_run
    from lllm.results.index import index
    from lllm.results.run import Run

    experiment = Path(name).stem if name.endswith((".yaml", ".yml")) else name.strip("/")
    if "/" not in experiment and (results / experiment).is_dir():
        records = [r for r in index(results, experiment) if r.state == "finished" and not r.aside and r.path]
        if not records:
            raise UserError(f"probe: '{name}' has no finished run below {results}; expected `lllm run {name}` before")
        return [Run(record.path) for record in records if record.path is not None]
    return [find_run(results, name)]
