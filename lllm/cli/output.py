"""Tables that are beautiful in a terminal and plain in a pipe."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["fits", "json_alone", "lasting_stdout", "print_json", "print_table"]

_WIDE = 1000  # columns of a terminal in which any table fits
_FOLDED = 20  # characters of a text that a narrow table shows in one line; the rest goes on below


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=2, default=str))


@contextmanager
def json_alone(as_json: bool) -> Iterator[dict[str, Any]]:
    """Yield what a script is to have, printed at the end of what went well when `as_json`: stdout then has that JSON
    document and nothing else, and what is printed for people meanwhile goes to stderr."""
    found: dict[str, Any] = {}
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield found
    if as_json:
        print_json(found)


@contextmanager
def lasting_stdout() -> Iterator[None]:
    """Where work goes on after the reader of a pipe went away, what is printed from then on is dropped."""
    with redirect_stdout(_Lasting(sys.stdout)) as lasting:
        yield
        lasting.flush()


class _Lasting:
    """A stream that outlives its reader."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._read = stream, True

    def __getattr__(self, name: str) -> Any:  # encoding, isatty, fileno
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self._read:
            self._tried(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        if self._read:
            self._tried(self._stream.flush)

    def _tried(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BrokenPipeError:
            self._read = False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # what is buffered goes there when the process ends
            os.close(nowhere)


def print_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), drop: Sequence[int] = ()
) -> None:
    """A table on stdout; columns whose index is in `right` are aligned to the right and never broken.

    drop: columns that a terminal too narrow for all of them may lack, the most dispensable first.
    """
    if sys.stdout.isatty():
        _rich(headers, rows, right, drop)
        return
    from lllm.results.table import aligned

    print(aligned(headers, rows, right))


def _rich(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], drop: Sequence[int]) -> None:
    from rich.console import Console

    console = Console()
    kept = list(range(len(headers)))
    least = [[cell if i in right else cell[:_FOLDED] for i, cell in enumerate(row)] for row in rows]
    for dispensable in drop:
        if fits(_drawn(headers, least, right, kept), console):
            break
        kept.remove(dispensable)
    console.print(_drawn(headers, rows, right, kept))


def fits(table: Table, console: Console) -> bool:
    """Whether the console is wide enough for the table."""
    return console.measure(table, options=console.options.update(width=_WIDE)).maximum <= console.width


def _drawn(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int], kept: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i in kept:
        widest = max((len(row[i]) for row in rows), default=0)
        side: Literal["left", "right"] = "right" if i in right else "left"
        table.add_column(headers[i], justify=side, min_width=widest if i in right else 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[i]) for i in kept))
    return table
