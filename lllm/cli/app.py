"""The Typer application and the one place where errors become exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

import typer

from lllm.cli import (
    bench,
    catalogue,
    check,
    compare,
    data,
    delete,
    diff,
    doctor,
    eval,
    generate,
    new,
    noise,
    probe,
    report,
    reproduce,
    run,
    show,
    sweep,
)
from lllm.errors import EXIT_CODE, BuildError, UserError
from lllm.openmp import spin

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
_VERBS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "sweep": sweep.sweep,
    "noise": noise.noise,
    "compare": compare.compare,
    "diff": diff.diff,
    "report": report.report,
    "list": catalogue.list_,
    "show": show.show,
    "eval": eval.eval_,
    "generate": generate.generate,
    "bench": bench.bench,
    "reproduce": reproduce.reproduce,
    "delete": delete.delete,
    "check": check.check,
    "probe": probe.probe,
    "doctor": doctor.doctor,
    "new": new.new,
}
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)
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
