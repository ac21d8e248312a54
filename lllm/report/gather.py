"""What a report shows, gathered from files alone into plain values: the one place that knows where things lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.report.figures.palette import look
from lllm.results.files import parse_lines, read_object
from lllm.results.noise import Noise, read_noise
from lllm.results.records import Record
from lllm.results.rows import Comparison, Row
from lllm.results.run import Run

__all__ = ["Composition", "Report", "Series", "gather", "origin", "samples_of"]

_ORIGIN = ("git", "environment", "argv", "kernels")  # of run.json: what only a run's directory has


@dataclass(frozen=True)
class Series:
    """A row of the table as the figures show it. runs: those it averages, by seed; baseline: whether the others are set
    against its variant; colour: a name of the palette."""

    name: str
    row: Row
    runs: tuple[Record, ...]
    baseline: bool
    colour: str
    dash: str
    symbol: str


@dataclass(frozen=True)
class Composition:
    """A variant's composed tree. nodes: path, name, depth, rate, parameters, FLOPs per token; settings: those that are
    not the default, by dotted path; matched: what was turned to match the baseline in size, ''."""

    variant: str
    nodes: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any]
    matched: str = ""


@dataclass(frozen=True)
class Report:
    """All of a page. runs: those of the table's rows and those that did not finish; trials: those that a sweep asked
    for; pareto: what searches over compositions came to, as they wrote it; noise: the baseline's; without_noise: why
    what is stored is not, ''; without_compositions: why there are none, ''; names: those that --as gave."""

    hypothesis: str
    comparison: Comparison
    series: tuple[Series, ...]
    runs: tuple[Record, ...]
    trials: tuple[Record, ...] = ()
    pareto: tuple[Mapping[str, Any], ...] = ()
    noise: Noise | None = None
    without_noise: str = ""
    compositions: tuple[Composition, ...] = ()
    without_compositions: str = ""
    names: tuple[str, ...] = ()


def gather(
    root: Path,
    hypothesis: str,
    comparison: Comparison,
    records: Sequence[Record],
    *,
    compositions: Sequence[Composition] = (),
    without_compositions: str = "",
) -> Report:
    """Put together what a page shows of an experiment's records below `root` and of the comparison made from them.

    Raises:
        UserError: noise.json or pareto.json is damaged.
    """
    base = next((row for row in comparison.rows if row.baseline and row.runs and not row.stale), None)
    asked = (base.arm, base.fingerprints, comparison.rule.metric) if base else None
    stored = read_noise(root, comparison.experiment)
    rows = {(row.variant, row.arm) for row in comparison.rows}
    own = not comparison.label  # under a name, what did not finish elsewhere is not its business
    runs = [
        record
        for record in records
        if (record.variant, record.arm) in rows or (own and record.state != "finished" and not record.section("trial"))
    ]
    return Report(
        hypothesis=hypothesis,
        comparison=comparison,
        series=_series(comparison.rows, {record.name: record for record in records}),
        runs=tuple(runs),
        trials=tuple(record for record in records if record.section("trial")),
        pareto=tuple(map(read_object, sorted((root / comparison.experiment).glob("pareto*.json")))),
        noise=stored.fitting(*asked) if asked else None,
        without_noise=stored.unused(*asked) if asked else "",
        compositions=tuple(compositions),
        without_compositions=without_compositions,
        names=tuple(sorted({record.label for record in records if record.label and not record.aside})),
    )


def _series(rows: Sequence[Row], by_name: Mapping[str, Record]) -> tuple[Series, ...]:
    """Of every row with runs; a stale one only where its variant has no other. The baseline has the text's colour."""
    base = next((row.variant for row in rows if row.baseline), None)
    found: list[Series] = []
    places = count()
    for row in _drawn(rows):
        name = f"{row.variant} ({'stale' if row.stale else row.note})" if row.note else row.variant
        baseline = row.variant == base and not row.other
        colour, dash, symbol = ("ink", "solid", "circle") if baseline else look(next(places))
        found.append(Series(name, row, tuple(by_name[run] for run in row.runs), baseline, colour, dash, symbol))
    return tuple(found)


def _drawn(rows: Sequence[Row]) -> list[Row]:
    fresh = {row.variant for row in rows if row.runs and not row.stale and not row.other}
    kept: list[Row] = []
    for row in rows:
        old = row.stale and (row.variant in fresh or any(row.variant == other.variant for other in kept))
        if row.runs and not old:
            kept.append(row)
    return kept


def origin(record: Record) -> Mapping[str, Any]:
    """git, environment, argv and kernels of a run; nothing where only its committed line is here, or is damaged."""
    if record.path is None:
        return {}
    try:
        info = Run(record.path).info
    except UserError:
        return {}
    return {key: info[key] for key in _ORIGIN if info.get(key)}


def samples_of(record: Record) -> list[tuple[str, str]]:
    """(prompt, text) of samples.jsonl of a run; nothing where it has none, or a damaged one."""
    if record.path is None:
        return []
    path = record.path / "samples.jsonl"
    try:
        lines = parse_lines(path, path.read_bytes())
    except (OSError, UserError):
        return []
    return [(str(line.get("prompt") or ""), str(line.get("text") or "")) for line in lines]
