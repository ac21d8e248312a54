"""The top of a page: the question, how it came out, the rule that decides, what must be known before the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from lllm.report.gather import Report
from lllm.report.html import esc, paragraph
from lllm.results.rows import WORDS, Comparison

__all__ = ["head", "warnings"]


def head(report: Report, sections: Sequence[tuple[str, str]]) -> str:
    """HTML. sections: key and title of what follows."""
    comparison = report.comparison
    named = f" as {comparison.label}" if comparison.label else ""
    changed = f"Changed on the command line: {' '.join(comparison.settings)}" if comparison.settings else ""
    said = [_rule(comparison), changed, *warnings(report)]
    links = "".join(f'<li><a href="#{esc(key)}">{esc(title)}</a></li>' for key, title in sections)
    return (
        f'<header class="top"><p class="overline">lllm report{esc(named)}</p><h1>{esc(comparison.experiment)}</h1>'
        f'<p class="hypothesis">{esc(report.hypothesis)}</p>{_tally(comparison)}'
        f"{''.join(paragraph(sentence, 'said') for sentence in said if sentence)}"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>'
    )


def _tally(comparison: Comparison) -> str:
    """How many rows have which verdict."""
    words = [row.verdict.word for row in comparison.rows if not row.stale]
    told = {"none": "without a verdict"}
    items = "".join(
        f'<li class="{word.split()[0]}"><b>{words.count(word)}</b> {told.get(word, word)}</li>'
        for word in WORDS
        if word in words
    )
    return f'<ul class="tally">{items}</ul>' if items else ""


def _rule(comparison: Comparison) -> str:
    """The decision rule in a sentence or two."""
    rule = comparison.rule
    base = next((row.variant for row in comparison.rows if row.baseline), None)
    against = f" against {base}" if base else ""
    least = "" if rule.floor is None else f" and it is larger than {rule.floor:g}"
    return (
        f"Decided by {rule.metric}, {rule.better} is better{against}: a difference counts when its simultaneous "
        f"interval at level {rule.level:g} excludes zero{least}; seeds are counted for power {rule.power:g}."
    )


def warnings(report: Report) -> list[str]:
    """Sentences, where something is amiss with all that follows."""
    stale = [series.row.variant for series in report.series if series.row.stale]
    if stale:
        return [f"Stale: parts have changed since the runs of {', '.join(stale)}; they are shown, and not judged."]
    if report.series:
        return []
    elsewhere = f"; runs are here under the name {' or '.join(report.names)} (--as)" if report.names else ""
    hidden = report.comparison.hidden
    others = f"; {hidden} of other arms are here (--all)" if hidden and not elsewhere else ""
    return [f"No row of the experiment has a finished run{elsewhere}{others}."]
