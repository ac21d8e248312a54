"""How far a long piece of work is: a bar with the time left on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["measuring", "preparing", "progress"]

LINE_EVERY = 10.0  # seconds between lines in a pipe


@contextmanager
def progress(what: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    """Yield done(amount so far), on stderr. Amounts are in `unit`."""
    if not sys.stderr.isatty():
        say = _seldom(LINE_EVERY)
        yield lambda amount: say(f"{what}: {amount:.0f} of {total:.0f} {unit}")
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    count = TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda amount: bar.update(task, completed=amount)


def preparing() -> Callable[[str, int], None]:
    """Say, once a second, that data are being prepared, where that takes longer."""
    say = _seldom(1.0)
    return lambda split, done: say(f"preparing data: {split}, {done / 1e6:.1f} MB")


def _seldom(seconds: float) -> Callable[[str], None]:
    """A way to say something on stderr that is silent for `seconds` at first and after each time."""
    said = time.monotonic()

    def say(text: str) -> None:
        nonlocal said
        if time.monotonic() - said > seconds:
            said = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    return say


def measuring(what: str) -> None:
    """Say what is being measured, which takes seconds or minutes."""
    print(what, file=sys.stderr, flush=True)
