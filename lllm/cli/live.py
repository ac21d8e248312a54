"""How it goes: one live table in a terminal, a line now and then in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from lllm.cli.output import fits
from lllm.launch.plan import Plan, Planned
from lllm.results.table import duration, si

__all__ = ["watcher"]

_HEADERS = ("state", "step", "bpb", "loss", "bytes/s", "memory", "left")  # of what `_cells` gives
_NARROW = tuple(header for header in _HEADERS if header not in ("loss", "memory"))
_LEAST = ("state", "step", "bpb", "left")
# width of the bar and columns, widest first
_LAYOUTS = ((24, _HEADERS), (10, _HEADERS), (10, _NARROW), (0, _NARROW), (0, _LEAST))
LINE_EVERY = 10.0  # seconds between lines of one run in a pipe


@dataclass
class _Progress:
    """One run as it goes."""

    state: str = "waiting"
    step: int = 0
    first: int = 0
    steps: int = 0
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    last: dict[str, Any] = field(default_factory=dict)
    said: float = 0.0

    @property
    def eta(self) -> float | None:
        """Seconds left, from the steps of this process."""
        done = self.step - self.first
        if self.state != "training" or done <= 0:
            return None
        return (time.monotonic() - self.began) / done * (self.steps - self.step)


class _Lines:
    """Keeps each run's progress, and tells it in plain lines on stderr."""

    def __init__(self, plan: Plan) -> None:
        self.progress = {run.name: _Progress() for run in plan.pending}

    def started(self, run: Planned, steps: int) -> None:
        self.progress[run.name] = _Progress("continuing" if run.todo == "continue" else "training", steps=steps)
        self.show(run, forced=True)

    def record(self, run: Planned, record: Mapping[str, Any]) -> None:
        progress = self.progress[run.name]
        if not progress.last:  # a run that continues begins where it was
            progress.first, progress.began = int(record["step"]), time.monotonic()
        progress.state, progress.step = "training", int(record["step"])
        progress.last |= record
        self.show(run)

    def ended(self, run: Planned, state: str, message: str = "") -> None:
        progress = self.progress[run.name]
        progress.state, progress.ended = state, time.monotonic()
        self.show(run, forced=True)
        if message:
            self.say(f"{run.name}: {state}: {message}")

    def show(self, run: Planned, forced: bool = False) -> None:
        """Bring what is shown up to date."""
        progress = self.progress[run.name]
        if not forced and time.monotonic() - progress.said < LINE_EVERY:
            return
        progress.said = time.monotonic()
        self.say(f"{run.name}: " + ", ".join(cell for cell in _cells(progress) if cell))

    def say(self, message: str) -> None:
        """A line beside it."""
        print(message, file=sys.stderr, flush=True)


class _Table(_Lines):
    """Shows it as one live table, which draws itself anew."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, get_renderable=self.render, refresh_per_second=4)

    def show(self, run: Planned, forced: bool = False) -> None:
        pass

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False)

    def render(self) -> Table:
        """The table as it is now, with as many columns as fit."""
        for bar, columns in _LAYOUTS:
            table = self._drawn(bar, columns)
            if fits(table, self.console):
                break
        return table

    def _drawn(self, bar: int, columns: Sequence[str]) -> Table:
        """One layout; `bar` is the width of the bar, 0 for none."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("run", overflow="fold")
        if bar:
            table.add_column("", no_wrap=True)
        for header in columns:
            table.add_column(header, justify="left" if header == "state" else "right", overflow="fold")
        for name, progress in list(self.progress.items()):  # trials of a sweep come and go meanwhile
            cells = dict(zip(_HEADERS, map(_bare, _HEADERS, _cells(progress)), strict=True))
            bars = [ProgressBar(total=max(1, progress.steps), completed=progress.step, width=bar)] if bar else []
            table.add_row(name, *bars, *(cells[header] for header in columns))
        return table


def _bare(header: str, cell: str) -> str:
    """Without the word that the header says already."""
    return cell.removeprefix(f"{header} ").removesuffix(f" {header}")


def _cells(progress: _Progress) -> list[str]:
    """state, step, bpb, loss, bytes/s, memory, time left; empty where not known."""
    last = progress.last

    def number(name: str, shown: str) -> str:
        return shown.format(last[name]) if last.get(name) is not None else ""

    eta = progress.eta
    took = duration(progress.ended - progress.began) if progress.ended and progress.steps else ""
    return [
        progress.state,
        f"step {progress.step}/{progress.steps}" if progress.steps and progress.state != "continuing" else "",
        number("bpb", "bpb {:.3f}"),
        number("loss", "loss {:.3f}"),
        f"{si(last['bytes_per_second'])}B/s" if last.get("bytes_per_second") else "",
        f"{si(last['memory'])}B" if last.get("memory") else "",
        f"{duration(eta)} left" if eta is not None else took,
    ]


@contextmanager
def watcher(plan: Plan) -> Iterator[_Lines]:
    """The one that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield _Lines(plan)
        return
    table = _Table(plan)
    with table.live:
        yield table
