"""A comparison as a table: in colours on a terminal, aligned text in a pipe, markdown in a file."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lllm.results.compare import Comparison, Row
from lllm.results.files import write_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["aligned", "duration", "footnotes", "markdown", "show", "si", "text", "write_markdown"]

ABSENT = "-"
_WIDE = 1000  # columns of a terminal in which any table fits
_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Column:
    """One column: its header, what it shows of a row, the side to which it is aligned, and whether it is a cost."""

    header: str
    cell: Callable[[Row], str]
    right: bool = True
    cost: bool = False


def show(comparison: Comparison) -> None:
    """Print it on stdout, as fits what stdout is."""
    if not sys.stdout.isatty():
        print(text(comparison))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in _heading(comparison):
        console.print(Text(line, style="bold"))
    for table in _fitting(comparison, console):
        console.print(table)
    for note in footnotes(comparison):
        console.print(Text(note, style="dim"))


def text(comparison: Comparison) -> str:
    """Plain, aligned lines."""
    columns = _columns(comparison)
    rows = [[column.cell(row) for column in columns] for row in comparison.rows]
    right = [i for i, column in enumerate(columns) if column.right]
    table = aligned([column.header for column in columns], rows, right)
    return "\n".join([*_heading(comparison), table, *footnotes(comparison)])


def markdown(comparison: Comparison) -> str:
    """A page for results/EXPERIMENT/table.md; the same runs give the same page."""
    columns = _columns(comparison)
    lines = [[column.header for column in columns], ["---:" if column.right else ":---" for column in columns]]
    lines += [[column.cell(row) for column in columns] for row in comparison.rows]
    table = ["| " + " | ".join(cell.strip().replace("|", "\\|") for cell in line) + " |" for line in lines]
    notes = [f"- {note.replace('*', chr(92) + '*')}" for note in footnotes(comparison)]
    title, *differing = _heading(comparison)
    again = f"lllm compare {comparison.experiment}" + (f" --as {comparison.label}" if comparison.label else "")
    made = f"Made by `{comparison.command}`; written by `{again}`." if comparison.command else f"Written by `{again}`."
    above = [f"{line.partition(': ')[0]}: `{line.partition(': ')[2]}`" for line in differing]
    above += [""] if above else []
    return "\n".join([f"# {title}", "", *above, *table, "", *notes, "", made, ""])


def write_markdown(root: Path, comparison: Comparison) -> Path:
    """Write the page below `root` unless it is there already, and return its path."""
    name = f"table.{comparison.label}.md" if comparison.label else "table.md"
    path = root / comparison.experiment / name
    data = markdown(comparison).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)
    return path


def _heading(comparison: Comparison) -> list[str]:
    """The title, and what the rows change of the file."""
    return [comparison.title, *([f"changed: {shlex.join(comparison.settings)}"] if comparison.settings else [])]


def footnotes(comparison: Comparison) -> list[str]:
    """What must be said below the table."""
    rows = comparison.rows
    notes = []
    if any(row.delta is not None for row in rows):
        notes.append(f"Δ: mean difference from the baseline's {comparison.decide} over the seeds that both have.")
    if any(row.runs for row in rows):
        tuned = [row.variant for row in rows if row.runs and not row.untuned]
        notes.append(f"Tuned: {', '.join(tuned)}; the others are untuned." if tuned else "Untuned: no row was tuned.")
    if any(row.shared_timing for row in rows):
        notes.append("*: timed while other runs shared the machine.")
    for row in rows:
        by_state: dict[str, list[str]] = {}
        for seed, state in row.unfinished.items():
            by_state.setdefault(state, []).append(str(seed))
        if row.unfinished:
            why = "; ".join(
                f"{'seeds' if len(s) > 1 else 'seed'} {', '.join(s)}: {state}" for state, s in by_state.items()
            )
            asked = len(row.seeds) + len(row.unfinished)
            notes.append(f"{row.variant}: {len(row.unfinished)} of {asked} missing ({why}).")
    if comparison.hidden:
        notes.append(f"{comparison.hidden} finished runs of other arms (overrides, budgets, trials): --all shows them.")
    return list(dict.fromkeys(notes))


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lines of cells padded to the width of their column."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    sides = [str.rjust if i in right else str.ljust for i in range(len(headers))]
    lines = (
        "  ".join(pad(cell, width) for pad, cell, width in zip(sides, row, widths, strict=True))
        for row in [headers, *rows]
    )
    return "\n".join(line.rstrip() for line in lines)


def si(value: float | None) -> str:
    """Three digits and a prefix: '1.31 M', '45.1 k', '812'."""
    if value is None or not math.isfinite(value):
        return ABSENT
    value = float(f"{value:.3g}")
    power = min(max(int(math.log10(abs(value)) // 3), 0), len(_PREFIXES) - 1) if value else 0
    digits = f"{value / 1000**power:#.3g}".rstrip(".")
    return f"{digits} {_PREFIXES[power]}".rstrip() if value else "0"


def duration(seconds: float | None) -> str:
    """'38.2 s', '12.3 min', '3.1 h'."""
    if seconds is None:
        return ABSENT
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _columns(comparison: Comparison) -> list[Column]:
    """Those that say something: a column without any number is left out, bpb excepted."""
    rate, speed = "train_flops_per_byte", "generation_bytes_per_second"
    unmarked = " " if any(row.shared_timing for row in comparison.rows) else ""  # keeps the digits in line

    def timed(cell: str, row: Row) -> str:
        return cell + ("*" if row.shared_timing and cell != ABSENT else unmarked)

    columns = [
        Column("variant", lambda row: f"{row.variant} ({row.note})" if row.note else row.variant, right=False),
        Column("seeds", _seeds),
        Column("bpb", lambda row: _fixed(row.bpb)),
        Column("sd", lambda row: _fixed(row.sd)),
        Column("nats/byte", lambda row: _fixed(row.numbers.get("nats_per_byte") if row.kind == "exact" else None)),
        Column("kind", lambda row: row.kind or ABSENT, right=False),
        *(_metric(name) for name in sorted({name for row in comparison.rows for name in row.metrics})),
        Column(f"Δ {comparison.decide}", lambda row: _delta(row, comparison.decide)),
        Column("parameters", lambda row: si(row.numbers.get("parameters")), cost=True),
        Column("trained on", lambda row: _bytes(row.numbers.get("train_bytes")), cost=True),
        Column("FLOPs", lambda row: si(row.numbers.get("train_flops")), cost=True),
        Column("FLOPs/byte", lambda row: si(row.numbers.get(rate)), cost=True),
        Column("time", lambda row: timed(duration(row.numbers.get("seconds")), row), cost=True),
        Column("bytes/s", lambda row: timed(si(row.numbers.get("bytes_per_second")), row), cost=True),
        Column("gen. bytes/s", lambda row: timed(si(row.numbers.get(speed)), row), cost=True),
        Column("verdict", lambda row: row.verdict.text, right=False),
    ]
    return [
        c
        for c in columns
        if c.header == "bpb" or any(c.cell(row).strip() not in (ABSENT, "") for row in comparison.rows)
    ]


def _metric(name: str) -> Column:
    return Column(name, lambda row: _fixed(row.metrics.get(name)))


def _fitting(comparison: Comparison, console: Console) -> list[Table]:
    """One table, or several where it is too wide: what was reached, and what it cost, as much as fits in each."""

    def fits(table: Table) -> bool:
        return console.measure(table, options=console.options.update(width=_WIDE)).maximum <= console.width

    columns = _columns(comparison)
    whole = _drawn(comparison, columns)
    if fits(whole):
        return [whole]
    tables = [_drawn(comparison, [column for column in columns if not column.cost])]
    held: list[Column] = []
    for column in (column for column in columns if column.cost):
        if held and not fits(_drawn(comparison, [columns[0], *held, column])):
            tables.append(_drawn(comparison, [columns[0], *held]))
            held = []
        held.append(column)
    return [*tables, _drawn(comparison, [columns[0], *held])] if held else tables


def _drawn(comparison: Comparison, columns: Sequence[Column]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        widest = max((len(column.cell(row)) for row in comparison.rows), default=0)
        table.add_column(
            column.header,
            justify="right" if column.right else "left",
            min_width=widest if column.right else 0,
            overflow="fold",
        )
    for row in comparison.rows:
        style = "dim" if row.stale or not row.runs else "bold" if row.baseline else ""
        table.add_row(*(Text(column.cell(row)) for column in columns), style=style)
    return table


def _seeds(row: Row) -> str:
    done = str(len(row.seeds) or ABSENT)
    return f"{done} of {len(row.seeds) + len(row.unfinished)}" if row.unfinished else done


def _bytes(value: float | None) -> str:
    shown = si(value)
    return shown if shown == ABSENT else f"{shown}B" if shown[-1:].isalpha() else f"{shown} B"


def _fixed(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"


def _delta(row: Row, decide: str) -> str:
    if row.delta is None:
        return "" if row.baseline else ABSENT
    return f"{row.delta:+.4f}" if "bpb" in decide else f"{row.delta:+.4g}"
