"""Arguments and options that several verbs have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Device", "Experiment", "Json", "Plugins", "Results", "RunName", "Words"]

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or any unambiguous part of its name.")]
Experiment = Annotated[str, typer.Argument(help="Name of an experiment, or a YAML file.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VARIANT...] [KEY=VALUE...]", help="Some of its variants; changes, as train.lr=1e-3."),
]
Results = Annotated[Path, typer.Option("--results", help="Where runs are.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Load a Python file with parts, too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
