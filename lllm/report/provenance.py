"""What is needed to make the numbers again: commands, fingerprints, parts, environments, and every run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from lllm.report.gather import Report, origin, value_of
from lllm.report.html import Table, details, esc, paragraph, table_html
from lllm.results.columns import duration
from lllm.results.grouping import FINGERPRINTS
from lllm.results.records import Record

__all__ = ["provenance", "run_list"]


def provenance(report: Report) -> str:
    """HTML."""
    body = "<h3>Commands</h3>" + _commands(report)
    body += "<h3>Fingerprints</h3>" + _fingerprints(report)
    body += "<h3>Where it ran</h3>" + _origins(report)
    parts = _parts(report)
    if parts.rows:
        body += details("Parts, by the digest of their source", table_html(parts, "ids", "Parts"))
    return body


def run_list(report: Report) -> str:
    """HTML: what did not finish, in sight; and every run of the table's rows, behind a click."""
    ordered = sorted(report.runs, key=lambda record: (record.variant, record.arm, record.seed, record.name))
    metric = report.comparison.rule.metric
    missing = [record for record in ordered if record.state != "finished"]
    seen = "<h3>Runs that did not finish</h3>" + table_html(_runs(missing, metric), "wrap", "Unfinished runs")
    every = details(f"All {len(ordered)} runs", table_html(_runs(ordered, metric), "wrap", "Runs"))
    return (seen if missing else "") + every


def _runs(records: Sequence[Record], metric: str) -> Table:
    rows, marks = [], []
    for record in records:
        value = value_of(record, metric)
        rows.append(
            [
                record.name,
                record.state,
                "-" if value is None else f"{value:.4f}",
                str((record.result or {}).get("steps") or "-"),
                duration(value_of(record, "seconds")),
                record.reason or ("" if record.path or record.state == "deleted" else "known from runs.jsonl alone"),
            ]
        )
        marks.append("aside" if record.aside else "")
    return Table(["run", "state", metric, "steps", "time", "what is to be known"], rows, right=(2, 3, 4), marks=marks)


def _commands(report: Report) -> str:
    comparison = report.comparison
    label = ["--as", comparison.label] if comparison.label else []
    made = comparison.command.split(" && ") if comparison.command else [_run(report)]
    tables = [shlex.join(["lllm", verb, comparison.experiment, *label]) for verb in ("compare", "report")]
    typed = sorted({shlex.join(["lllm", *map(str, argv)]) for r in report.runs if (argv := origin(r).get("argv"))})
    again = f"<pre>{esc(chr(10).join([*made, *tables]))}</pre>"
    if not typed:
        return again
    return again + paragraph("As they were typed, of the runs whose directories are here:", "caption") + _lines(typed)


def _run(report: Report) -> str:
    """The command that trains the rows: the experiment as its file has it, at the seeds that were run."""
    seeds = sorted({seed for series in report.series for seed in series.row.seeds})
    words = ["lllm", "run", report.comparison.experiment, *(["--seeds", ",".join(map(str, seeds))] if seeds else [])]
    return shlex.join(words)


def _fingerprints(report: Report) -> str:
    rows = [
        [series.name, series.row.arm, *(series.row.fingerprints.get(name) or "-" for name in FINGERPRINTS)]
        for series in report.series
    ]
    said = paragraph(
        "Arm: the settings. Code: the source of the parts. Runs share a row only where all four are equal; rows are "
        "compared only where data and evaluator are.",
        "caption",
    )
    return said + table_html(Table(["row", "arm", *FINGERPRINTS], rows), "ids", "Fingerprints")


def _origins(report: Report) -> str:
    """Commits and environments, each with how many runs it made."""
    counts: dict[tuple[str, str, str], int] = {}
    unknown = 0
    for record in report.runs:
        found = origin(record)
        if not found:
            unknown += 1
            continue
        key = (_git(found.get("git")), _pairs(found.get("environment")), _pairs(found.get("kernels")))
        counts[key] = counts.get(key, 0) + 1
    rows = [[str(n), *key] for key, n in sorted(counts.items())]
    body = (
        table_html(Table(["runs", "commit", "environment", "kernels"], rows, right=(0,)), "wrap", "Origins")
        if rows
        else ""
    )
    if unknown:
        body += paragraph(
            f"Commit and environment of {unknown} {'run' if unknown == 1 else 'runs'} are not here: they are in the "
            "directories of runs, and runs.jsonl keeps none of what only one machine knows.",
            "caption",
        )
    return body


def _git(git: object) -> str:
    if isinstance(git, dict):
        return f"{git.get('commit')}{', with changes' if git.get('changed') else ''}"
    return str(git or "-")


def _pairs(values: object) -> str:
    if isinstance(values, dict):
        return (
            ", ".join(
                f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()
            )
            or "-"
        )
    return str(values or "-")


def _parts(report: Report) -> Table:
    found: dict[tuple[str, str, str], list[str]] = {}
    for series in report.series:
        for name, part in _first(series.runs):
            found.setdefault((name, str(part.get("version")), str(part.get("digest"))), []).append(series.name)
    rows = [
        [*key, ", ".join(names) if len(names) < len(report.series) else "all rows"]
        for key, names in sorted(found.items())
    ]
    return Table(["part", "version", "digest", "in"], rows)


def _first(runs: Sequence[Record]) -> list[tuple[str, dict[str, object]]]:
    return [(name, dict(part)) for name, part in sorted(runs[0].parts.items())] if runs else []


def _lines(commands: Sequence[str]) -> str:
    return f"<pre>{esc(chr(10).join(commands))}</pre>"
