"""A comparison as a table: in colours on a terminal, aligned text in a pipe, markdown in a file."""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lllm.results.columns import Column, chosen, columns_of, duration, si
from lllm.results.effects import effects_markdown, effects_text
from lllm.results.files import write_changed
from lllm.results.footnotes import footnotes
from lllm.results.rows import Comparison

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["aligned", "comma_separated", "duration", "footnotes", "markdown", "show", "si", "text", "write_markdown"]

Keys = Sequence[str] | None  # of the columns that are wanted; None: those that say something

_WIDE = 1000  # columns of a terminal in which any table fits


def show(comparison: Comparison, keys: Keys = None) -> None:
    """Print it on stdout, as fits what stdout is. keys: of the columns; None: those that say something."""
    if not sys.stdout.isatty():
        print(text(comparison, keys))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in _heading(comparison):
        console.print(Text(line, style="bold"))
    for table in _fitting(comparison, chosen(comparison, keys), console):
        console.print(table)
    for line in effects_text(comparison.effects) if comparison.effects else ():
        console.print(Text(line))
    for note in footnotes(comparison):
        console.print(Text(note, style="dim"))


def text(comparison: Comparison, keys: Keys = None) -> str:
    """Plain, aligned lines."""
    columns = chosen(comparison, keys)
    rows = [[column.cell(row) for column in columns] for row in comparison.rows]
    right = [i for i, column in enumerate(columns) if column.right]
    table = aligned([column.header for column in columns], rows, right)
    effects = effects_text(comparison.effects) if comparison.effects else []
    return "\n".join([*_heading(comparison), table, *effects, *footnotes(comparison)])


def comma_separated(comparisons: Sequence[Comparison], keys: Keys = None) -> str:
    """Lines of a CSV file: columns under their keys, numbers as they are; a column that only some of the comparisons
    have is empty in the others."""
    lines: list[dict[str, Any]] = []
    for comparison in comparisons:
        columns = columns_of(comparison) if keys is None else chosen(comparison, keys)
        for row in comparison.rows:
            cells = {column.key: column.value(row) for column in columns}
            lines.append({"experiment": comparison.title, **cells, **({"note": row.note} if keys is None else {})})
    names = list(dict.fromkeys(name for line in lines for name in line))
    output = io.StringIO()
    writer = csv.DictWriter(output, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return output.getvalue()


def markdown(comparison: Comparison, keys: Keys = None) -> str:
    """A page for results/EXPERIMENT/table.md; the same runs give the same page."""
    columns = chosen(comparison, keys)
    lines = [[column.header for column in columns], ["---:" if column.right else ":---" for column in columns]]
    lines += [[column.cell(row) for column in columns] for row in comparison.rows]
    table = ["| " + " | ".join(cell.strip().replace("|", "\\|") for cell in line) + " |" for line in lines]
    notes = [f"- {note.replace('*', chr(92) + '*')}" for note in footnotes(comparison)]
    title, *differing = _heading(comparison)
    label = f" --as {comparison.label}" if comparison.label else ""
    again = f"lllm compare {comparison.experiment}{label} --commit"
    made = f"Made by `{comparison.command}`; written by `{again}`." if comparison.command else f"Written by `{again}`."
    above = [f"{line.partition(': ')[0]}: `{line.partition(': ')[2]}`" for line in differing]
    above += [""] if above else []
    effects = [*effects_markdown(comparison.effects), ""] if comparison.effects else []
    return "\n".join([f"# {title}", "", *above, *table, "", *effects, *notes, "", made, ""])


def write_markdown(root: Path, comparison: Comparison) -> Path:
    """Write the page below `root` unless it is there already, and return its path."""
    name = f"table.{comparison.label}.md" if comparison.label else "table.md"
    path = root / comparison.experiment / name
    write_changed(path, markdown(comparison).encode())
    return path


def _heading(comparison: Comparison) -> list[str]:
    """The title, and what the rows change of the file."""
    return [comparison.title, *([f"changed: {shlex.join(comparison.settings)}"] if comparison.settings else [])]


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lines of cells padded to the width of their column."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    sides = [str.rjust if i in right else str.ljust for i in range(len(headers))]
    lines = (
        "  ".join(pad(cell, width) for pad, cell, width in zip(sides, row, widths, strict=True))
        for row in [headers, *rows]
    )
    return "\n".join(line.rstrip() for line in lines)


def _fitting(comparison: Comparison, columns: Sequence[Column], console: Console) -> list[Table]:
    """One table, or several where it is too wide: what was reached, and what it cost, as much as fits in each."""

    def fits(table: Table) -> bool:
        return console.measure(table, options=console.options.update(width=_WIDE)).maximum <= console.width

    whole = _drawn(comparison, columns)
    if fits(whole):
        return [whole]
    tables = []
    for group in ([c for c in columns[1:] if not c.cost], [c for c in columns[1:] if c.cost]):
        held: list[Column] = []
        for column in group:
            if held and not fits(_drawn(comparison, [columns[0], *held, column])):
                tables.append(_drawn(comparison, [columns[0], *held]))
                held = []
            held.append(column)
        tables += [_drawn(comparison, [columns[0], *held])] if held else []
    return tables


def _drawn(comparison: Comparison, columns: Sequence[Column]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        widest = max((len(column.cell(row)) for row in comparison.rows), default=0)
        side: Literal["right", "left"] = "right" if column.right else "left"
        table.add_column(column.header, justify=side, min_width=widest if column.right else 0, overflow="fold")
    for row in comparison.rows:
        style = "dim" if row.stale or not row.runs else "bold" if row.baseline else ""
        table.add_row(*(Text(column.cell(row)) for column in columns), style=style)
    return table
