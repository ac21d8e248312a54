"""The index of all experiments with results: the question, how far it is answered, where to read on. Files alone.

Without building a model it is not known which arms the file defines now, so the newest runs stand for their variants.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from lllm.report.document import document
from lllm.report.html import Table, esc, table_html
from lllm.results.compare import tabulate, tabulate_named
from lllm.results.grouping import Expected
from lllm.results.named import as_filed, named
from lllm.results.records import Record
from lllm.results.rows import WORDS, Comparison, Row
from lllm.results.rule import Rule

__all__ = ["Entry", "Question", "entries", "index_page"]

_TOLD = 3  # rows that a sentence names for each verdict


@dataclass(frozen=True)
class Question:
    """What an experiment's file asks."""

    hypothesis: str
    variants: tuple[str, ...]
    baseline: str
    rule: Rule


@dataclass(frozen=True)
class Summary:
    """One table. label: what --as calls it, '' for the experiment's own; rows: those with finished runs; said: how it
    came out, '' where that is not known; links: text -> file beside the index."""

    label: str = ""
    rows: int = 0
    said: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """An experiment with results. question: '' where its file is not here; states: state -> number of runs; summaries:
    one for each of its tables, at least one."""

    name: str
    question: str
    states: Mapping[str, int]
    summaries: tuple[Summary, ...]


def entries(root: Path, records: Sequence[Record], questions: Mapping[str, Question]) -> list[Entry]:
    """By name. records: of all experiments; questions: those whose files are here, by name."""
    by_name: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_name[record.experiment].append(record)
    found = []
    for name, mine in sorted(by_name.items()):
        question = questions.get(name)
        known = (list(_summaries(name, mine, question)) if question else []) or [Summary()]
        linked = tuple(replace(one, links=_links(root, name, one.label)) for one in known)
        states = Counter[str](record.state for record in mine)
        found.append(Entry(name, question.hypothesis if question else "", states, linked))
    return found


def _links(root: Path, name: str, label: str) -> dict[str, str]:
    """Page and table of one name, those that have been written."""
    middle = f".{label}" if label else ""
    files = {"report": f"{name}/report{middle}.html", "table": f"{name}/table{middle}.md"}
    return {text: place for text, place in files.items() if (root / place).is_file()}


def _summaries(name: str, records: Sequence[Record], question: Question) -> Iterator[Summary]:
    """Of the experiment's own table, and of every name that its runs have."""
    plain = _plain(name, [record for record in records if not record.label], question)
    if plain is not None:
        yield _summary(plain)
    for label in sorted({record.label for record in records if record.label and not record.aside}):
        runs = named(records, label, question.variants, question.baseline, question.rule)
        yield _summary(tabulate_named(name, runs))


def _plain(name: str, records: Sequence[Record], question: Question) -> Comparison | None:
    """The comparison of the newest arms that no command line changed; where a variant has none, of its newest."""
    usual = [record for record in records if record.info.get("trial") is None and not record.aside]
    newest: dict[str, Record] = {}
    filed: dict[tuple[str, str], bool] = {}
    for record in sorted(usual, key=lambda record: (record.state == "finished", record.finished_at)):
        key = (record.variant, record.arm)
        if key not in filed:
            filed[key] = as_filed(record)
        known = newest.get(record.variant)
        if known is None or filed[key] >= filed[known.variant, known.arm]:
            newest[record.variant] = record
    rows = [
        Expected(variant, newest[variant].arm, variant == question.baseline, question.rule)
        for variant in question.variants
        if variant in newest
    ]
    return tabulate(usual, name, rows) if rows else None


def _summary(comparison: Comparison) -> Summary:
    rows = [row for row in comparison.rows if row.runs and not row.stale]
    base = next((row.variant for row in comparison.rows if row.baseline), "the baseline")
    by_word = {word: [row for row in rows if row.verdict.word == word] for word in WORDS}
    told = [_told(word, some, base, comparison.rule) for word, some in by_word.items() if some]
    said = "; ".join(told) or "no verdict yet"
    return Summary(comparison.label, len(rows), f"{said[0].upper()}{said[1:]}.")


def _told(word: str, found: Sequence[Row], base: str, rule: Rule) -> str:
    """'better than flat: local (-0.0577 ± 0.0044)'; of many rows the best are named."""
    if word == "none":
        return f"{len(found)} without a verdict"
    sign = 1 if rule.better == "lower" else -1
    rows = sorted(found, key=lambda row: sign * (row.delta or 0))
    names = [_difference(row) for row in rows[:_TOLD]]
    more = f" and {len(rows) - _TOLD} more" if len(rows) > _TOLD else ""
    than = f"{word} than {base}" if word in ("better", "worse") else word
    return f"{than}: {', '.join(names)}{more}"


def _difference(row: Row) -> str:
    if row.interval is None:
        return row.variant
    half = "" if row.interval.half is None else f" ± {row.interval.half:.4g}"
    return f"{row.variant} ({row.interval.difference:+.4g}{half})"


def index_page(found: Sequence[Entry]) -> str:
    """HTML."""
    blocks = "".join(map(_block, found))
    many = "1 experiment has results." if len(found) == 1 else f"{len(found)} experiments have results."
    rows = [[entry.name, str(max(one.rows for one in entry.summaries) or "-"), _runs(entry)] for entry in found]
    table = table_html(Table(["experiment", "rows", "runs"], rows, right=(1,)), "wrap", "Experiments")
    return document(
        "lllm: experiments",
        f'<header class="top"><p class="overline">lllm report</p><h1>Experiments</h1><p class="said muted">{many}</p>'
        f"{table}</header><main>{blocks}</main>",
    )


def _block(entry: Entry) -> str:
    question = entry.question or "Its file is not in this project, so the question is not known."
    told = "".join(_table(entry.name, summary) for summary in entry.summaries)
    return (
        f'<section id="{esc(entry.name)}"><h2>{esc(entry.name)}</h2><p class="hypothesis">{esc(question)}</p>'
        f'{told}<p class="caption">Runs: {esc(_runs(entry))}.</p></section>'
    )


def _table(name: str, summary: Summary) -> str:
    told = [f'<a href="{esc(quote(place))}">{esc(text)}</a>' for text, place in summary.links.items()]
    if "report" not in summary.links:
        command = f"lllm report {name}" + (f" --as {summary.label}" if summary.label else "")
        told.append(f'<span class="muted">no page yet: {esc(command)}</span>')
    anchors = " · ".join(told)
    if not summary.said:
        return f"<p>{anchors}</p>"
    title = f"<h3>as {esc(summary.label)}</h3>" if summary.label else ""
    return f'{title}<p class="said">{esc(summary.said)}</p><p class="said">{anchors}</p>'


def _runs(entry: Entry) -> str:
    return ", ".join(f"{n} {state}" for state, n in entry.states.items())
