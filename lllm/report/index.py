"""The index of all experiments with results: the question, how far it is answered, where to read on. Files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lllm.report.document import document
from lllm.report.html import Table, esc, table_html
from lllm.report.summary import Question, Summary, summaries
from lllm.results.records import Record

__all__ = ["Entry", "entries", "index_page"]


@dataclass(frozen=True)
class Entry:
    """An experiment with results. question: '' where its file is not here; states: state -> number of runs; summaries:
    one for each of its tables; links: for each, text -> file beside the index."""

    name: str
    question: str
    states: Mapping[str, int]
    summaries: tuple[Summary, ...]
    links: tuple[Mapping[str, str], ...]


def entries(root: Path, records: Sequence[Record], questions: Mapping[str, Question]) -> list[Entry]:
    """By name. records: of all experiments; questions: those whose files are here, by name."""
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record.experiment, []).append(record)
    return [_entry(root, name, mine, questions.get(name)) for name, mine in sorted(by_name.items())]


def _entry(root: Path, name: str, records: Sequence[Record], question: Question | None) -> Entry:
    states = [record.state for record in records]
    found = tuple(summaries(root, name, records, question)) if question else ()
    labels = [summary.label for summary in found] or [""]
    return Entry(
        name=name,
        question=question.hypothesis if question else "",
        states={state: states.count(state) for state in dict.fromkeys(states)},
        summaries=found,
        links=tuple(_links(root, name, label) for label in labels),
    )


def _links(root: Path, name: str, label: str) -> dict[str, str]:
    """Page and table of one name, those that have been written."""
    middle = f".{label}" if label else ""
    files = {"report": f"{name}/report{middle}.html", "table": f"{name}/table{middle}.md"}
    return {text: place for text, place in files.items() if (root / place).is_file()}


def index_page(found: Sequence[Entry]) -> str:
    """HTML."""
    blocks = "".join(map(_block, found))
    many = "1 experiment has results." if len(found) == 1 else f"{len(found)} experiments have results."
    return document(
        "lllm: experiments",
        f'<header class="top"><p class="overline">lllm report</p><h1>Experiments</h1><p class="said muted">{many}</p>'
        f"{_table(found)}</header><main>{blocks}</main>",
    )


def _table(found: Sequence[Entry]) -> str:
    rows = [
        [entry.name, str(max((s.rows for s in entry.summaries), default=0) or "-"), _runs(entry)] for entry in found
    ]
    return table_html(Table(["experiment", "rows", "runs"], rows, right=(1,)), "wrap", "Experiments")


def _block(entry: Entry) -> str:
    question = entry.question or "Its file is not in this project, so the question is not known."
    told = [
        _summary(entry.name, summary, links) for summary, links in zip(entry.summaries, entry.links, strict=False)
    ] or [f"<p>{_anchors(entry.name, '', entry.links[0])}</p>"]
    return (
        f'<section id="{esc(entry.name)}"><h2>{esc(entry.name)}</h2><p class="hypothesis">{esc(question)}</p>'
        f'{"".join(told)}<p class="caption">Runs: {esc(_runs(entry))}.</p></section>'
    )


def _summary(name: str, summary: Summary, links: Mapping[str, str]) -> str:
    title = f"<h3>as {esc(summary.label)}</h3>" if summary.label else ""
    return f'{title}<p class="said">{esc(summary.said)}</p><p class="said">{_anchors(name, summary.label, links)}</p>'


def _anchors(name: str, label: str, links: Mapping[str, str]) -> str:
    written = " · ".join(f'<a href="{esc(quote(place))}">{esc(text)}</a>' for text, place in links.items())
    if "report" in links:
        return written
    command = f"lllm report {name}" + (f" --as {label}" if label else "")
    return " · ".join(filter(None, (written, f'<span class="muted">no page yet: {esc(command)}</span>')))


def _runs(entry: Entry) -> str:
    return ", ".join(f"{n} {state}" for state, n in entry.states.items())
