"""What the tables of an experiment say, in a sentence each: for an index, from files alone.

Without building a model it is not known which arms the file defines now, so the newest runs stand for their variants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lllm.results.compare import tabulate, tabulate_named
from lllm.results.grouping import Expected
from lllm.results.named import as_filed, named
from lllm.results.records import Record
from lllm.results.rows import WORDS, Comparison, Row
from lllm.results.rule import Rule

__all__ = ["Question", "Summary", "summaries"]

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
    """One table. label: what --as calls it, '' for the experiment's own; rows: those with finished runs."""

    label: str
    rows: int
    said: str


def summaries(root: Path, name: str, records: Sequence[Record], question: Question) -> Iterator[Summary]:
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
