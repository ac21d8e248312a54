"""The Typer application and the one place where errors become exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

import typer

from lllm.cli import data
from lllm.cli.bench import bench
from lllm.cli.catalogue import list_
from lllm.cli.check import check
from lllm.cli.compare import compare
from lllm.cli.delete import delete
from lllm.cli.diff import diff
from lllm.cli.doctor import doctor
from lllm.cli.eval import eval_
from lllm.cli.generate import generate
from lllm.cli.new import new
from lllm.cli.noise import noise
from lllm.cli.probe import probe
from lllm.cli.report import report
from lllm.cli.reproduce import reproduce
from lllm.cli.run import run
from lllm.cli.show import show
from lllm.cli.sweep.command import sweep
from lllm.errors import EXIT_CODE, INTERRUPTED, BuildError, UserError
from lllm.openmp import spin

__all__ = ["app", "main"]

app = typer.Typer(
    name="lllm",
    help="A bench for latent language models: compose, train, compare, believe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_TRAIN = (run, sweep, noise)
_READ = (compare, diff, report, list_, show)
_USE = (eval_, generate, bench, reproduce, delete, check, probe, doctor, new)
_VERBS: tuple[Callable[..., None], ...] = (*_TRAIN, *_READ, *_USE)  # in the order of --help
for _verb in _VERBS:
    app.command(_verb.__name__.rstrip("_"))(_verb)
app.add_typer(data.app, name="data")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Exit code 0; 1 when what was asked for ran and failed; 2 for bad input; 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows another
    spin()  # before a verb loads torch, whose OpenMP reads it once
    try:
        app(list(arguments) if arguments is not None else None)
    except (UserError, BuildError) as error:
        _say(f"error: {error}")
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe went away; it has what it wanted
        sys.stderr.close()
        sys.exit(0)


def _say(message: str) -> None:
    """One line, whatever the user's words in it contain."""
    print("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message), file=sys.stderr)
