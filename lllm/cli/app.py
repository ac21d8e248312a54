"""The Typer application and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from lllm.cli import catalogue, check, compare, doctor, new, run
from lllm.errors import EXIT_CODE, UserError

__all__ = ["app", "main"]

INTERRUPTED = 130

app = typer.Typer(
    name="lllm",
    help="A bench for latent language models: compose, train, compare, believe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("compare")(compare.compare)
app.command("list")(catalogue.list_)
app.command("show")(catalogue.show)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.command("new")(new.new)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Exit code 0; 1 when what was asked for ran and failed; 2 for bad input; 130 after Ctrl-C."""
    try:
        app(list(arguments) if arguments is not None else None)
    except UserError as error:
        _say(f"error: {error}")
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe went away; it has what it wanted
        sys.stderr.close()
        sys.exit(0)


def _say(message: str) -> None:
    print(message, file=sys.stderr)
