"""How far a long piece of work is: a bar with the time left on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["measuring", "preparing", "progress"]

LINE_EVERY = 10.0  # seconds between lines in a pipe
Done = Callable[[float], None]


@contextmanager
def progress(what: str, total: float, unit: str = "", scale: float = 1.0) -> Iterator[Done]:
    """Yield done(amount so far), on stderr. Amounts are shown divided by `scale`, in `unit`."""
    if not sys.stderr.isatty():
        yield _lines(what, total / scale, unit, scale)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    count = TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total / scale)
        yield lambda amount: bar.update(task, completed=amount / scale)


def _lines(what: str, total: float, unit: str, scale: float) -> Done:
    said = time.monotonic()

    def done(amount: float) -> None:
        nonlocal said
        if time.monotonic() - said > LINE_EVERY:
            said = time.monotonic()
            print(f"{what}: {amount / scale:.0f} of {total:.0f} {unit}".rstrip(), file=sys.stderr, flush=True)

    return done


def preparing() -> Callable[[str, int], None]:
    """Say, once a second, that data are being prepared, where that takes longer."""
    said = time.monotonic()

    def told(split: str, done: int) -> None:
        nonlocal said
        if time.monotonic() - said > 1:
            said = time.monotonic()
            print(f"preparing data: {split}, {done / 1e6:.1f} MB", file=sys.stderr)

    return told


def measuring(what: str) -> None:
    """Say what is being measured, which takes seconds or minutes."""
    print(what, file=sys.stderr, flush=True)
