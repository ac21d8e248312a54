"""Pieces of a page. Whatever a user wrote passes through `esc`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Table", "details", "esc", "paragraph", "plain", "section", "table_html"]

_KEPT = "\n\t"


@dataclass(frozen=True)
class Table:
    """Cells as they are read; right: columns of numbers; marks: a class for each row, '' for none."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] = ()
    marks: Sequence[str] = ()


def plain(text: object) -> str:
    """The text with what cannot be shown, or not be encoded, written out as in Python."""
    return "".join(c if c.isprintable() or c in _KEPT else c.encode("unicode_escape").decode() for c in str(text))


def esc(text: object) -> str:
    """Text for between tags and in quoted attributes."""
    return html.escape(plain(text))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{kind}">{esc(text)}</p>' if kind else f"<p>{esc(text)}</p>"


def table_html(table: Table, kind: str = "", name: str = "Table") -> str:
    """A table that scrolls sideways where the page is narrow. name: for those who hear the page."""
    right = set(table.right)

    def cell(tag: str, i: int, text: str) -> str:
        side = ' class="n"' if i in right else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{side}>{esc(text.rstrip())}</{tag}>"

    head = "".join(cell("th", i, text) for i, text in enumerate(table.headers))
    lines = []
    for mark, row in zip(table.marks or [""] * len(table.rows), table.rows, strict=True):
        opening = f'<tr class="{esc(mark)}">' if mark else "<tr>"
        lines.append(opening + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>")
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="scroll {kind}" tabindex="0" role="region" aria-label="{esc(name)}">{body}</div>'


def details(summary: str, body: str, is_open: bool = False) -> str:
    """What a reader may open. body: HTML."""
    return f"<details{' open' if is_open else ''}><summary>{esc(summary)}</summary>{body}</details>"


def section(key: str, title: str, body: str) -> str:
    """body: HTML."""
    heading = f"{esc(key)}-title"
    return f'<section id="{esc(key)}" aria-labelledby="{heading}"><h2 id="{heading}">{esc(title)}</h2>{body}</section>'
