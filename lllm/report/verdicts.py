"""The table that `compare` shows, in three: what decides and the verdicts, what else was found, what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from lllm.report.html import Table, esc, table_html
from lllm.results.columns import Column, chosen
from lllm.results.footnotes import footnotes
from lllm.results.rows import Comparison

__all__ = ["verdicts"]

_DECISIVE = ("seeds", "bpb", "kind", "difference", "half", "verdict")  # columns of the first table


def verdicts(comparison: Comparison) -> str:
    """HTML: tables that a page has room for, and the notes below them."""
    name, *rest = chosen(comparison)
    first = [column for column in rest if column.key in (*_DECISIVE, comparison.rule.metric)]
    other = [column for column in rest if column not in first and not column.cost]
    cost = [column for column in rest if column not in first and column.cost]
    body = table_html(_table(comparison, [name, *first]), "verdicts judged", "Verdicts")
    for title, columns in (("What else was found", other), ("What the rows cost", cost)):
        if columns:
            body += f"<h3>{title}</h3>" + table_html(_table(comparison, [name, *columns]), "verdicts", title)
    notes = "".join(f"<li>{esc(note)}</li>" for note in footnotes(comparison))
    return f'{body}<ul class="notes">{notes}</ul>'


def _table(comparison: Comparison, columns: Sequence[Column]) -> Table:
    rows = comparison.rows
    return Table(
        [column.header for column in columns],
        [[column.cell(row) for column in columns] for row in rows],
        [i for i, column in enumerate(columns) if column.right],
        ["aside" if row.stale or not row.runs else row.verdict.word.replace(" ", "-") for row in rows],
    )
