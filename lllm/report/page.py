"""The page of an experiment: sections in the order in which a reader asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lllm.report.composition import compositions
from lllm.report.document import document
from lllm.report.figures.design import design
from lllm.report.figures.figure import Figure, Switch
from lllm.report.figures.forest import forest
from lllm.report.figures.front import front
from lllm.report.figures.learning import learning
from lllm.report.figures.nats import by_position, by_slot
from lllm.report.figures.search import search
from lllm.report.figures.spread import spread
from lllm.report.figures.tuning import tuning
from lllm.report.gather import Report
from lllm.report.head import head, warnings
from lllm.report.html import details, esc, paragraph, section, table_html
from lllm.report.provenance import provenance, run_list
from lllm.report.samples import samples
from lllm.report.verdicts import verdicts
from lllm.results.effects import effects_text

__all__ = ["Page", "page"]


@dataclass(frozen=True)
class Page:
    """text: HTML; figures: their keys; warnings: what is amiss; absent: what has no figure, and why."""

    text: str
    figures: tuple[str, ...]
    warnings: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class _Section:
    """body: HTML, of a section of text. made: the figures of another one, None for one that has nothing to show;
    without: what is said where none has."""

    key: str
    title: str
    body: str = ""
    made: tuple[Figure | None, ...] = ()
    without: str = ""

    @property
    def figures(self) -> list[Figure]:
        return [figure for figure in self.made if figure is not None]

    @property
    def html(self) -> str:
        drawn = "".join(map(_figure, self.figures))
        return section(self.key, self.title, self.body or drawn or paragraph(self.without, "muted"))


def page(report: Report) -> Page:
    """Everything that can be shown of the report; what cannot is said."""
    sections = list(_sections(report))
    figures = [figure for one in sections for figure in one.figures]
    absent = [f"{one.title}: {one.without}" for one in sections if not one.body and not one.figures]
    top = head(report, [(one.key, one.title) for one in sections])
    body = f"{top}<main>{''.join(one.html for one in sections)}</main>"
    text = document(f"{report.comparison.title}: report", body, figures)
    return Page(text, tuple(figure.key for figure in figures), tuple(warnings(report)), tuple(absent))


def _sections(report: Report) -> Iterator[_Section]:
    name, effects = report.comparison.experiment, report.comparison.effects
    yield _Section("verdicts", "Verdicts", verdicts(report.comparison) + run_list(report))
    one_seed = "No row has a difference from the baseline: it takes a finished run of both at one seed."
    yield _Section("differences", "Differences", made=(forest(report),), without=one_seed)
    if effects is not None:
        told = "; ".join(line.strip() for line in effects_text(effects))
        yield _Section("effects", "Effects", made=(design(report),), without=told)
    yield _Section("learning", "Learning curves", made=(learning(report),), without="No run has a curve.")
    made = (by_slot(report), by_position(report))
    yield _Section("nats", "Where the nats are", made=made, without="No likelihood has nats per token.")
    costs = "It takes two rows that have a value and do not cost the same."
    yield _Section("cost", "Quality and cost", made=(front(report),), without=costs)
    noise = f"{report.without_noise or 'Not measured'}; to measure it: lllm noise {name}"
    yield _Section("noise", "Noise", made=(spread(report),), without=noise)
    swept = (tuning(report), *search(report))
    yield _Section("tuning", "Tuning", made=swept, without=f"Nothing was tuned; to tune: lllm sweep {name}")
    yield _Section("samples", "Samples", samples(report))
    yield _Section("composition", "Composition", compositions(report))
    yield _Section("again", "To make it again", provenance(report))


def _figure(figure: Figure) -> str:
    switches = "".join(_switch(figure.key, switch) for switch in figure.switches)
    holder = (
        f'<div class="plot" id="figure-{esc(figure.key)}" style="height:{figure.height}px" role="img" '
        f'aria-label="{esc(figure.caption)}"><noscript>The figure is drawn by JavaScript, which is switched off; '
        "the tables have its numbers.</noscript></div>"
    )
    told = details(figure.summary, table_html(figure.numbers, "wrap", figure.summary)) if figure.numbers else ""
    controls = f'<div class="switches">{switches}</div>' if switches else ""
    title = f"<h3>{esc(figure.title)}</h3>" if figure.title else ""
    caption = f'<figcaption class="caption">{esc(figure.caption)}</figcaption>'
    return f"{title}<figure>{controls}{holder}{caption}</figure>{told}"


def _switch(figure: str, switch: Switch) -> str:
    buttons = "".join(
        f'<button type="button" data-figure="{esc(figure)}" data-key="{esc(switch.key)}" '
        f'data-option="{esc(option.key)}" aria-pressed="{"false" if i else "true"}">{esc(option.text)}</button>'
        for i, option in enumerate(switch.options)
    )
    return f"<fieldset><legend>{esc(switch.text)}</legend>{buttons}</fieldset>"
