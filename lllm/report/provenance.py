"""What is needed to make the numbers again: commands, fingerprints, parts, environments, and every run."""

from __future__ import annotations

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence

from lllm.report.gather import Report, origin
from lllm.report.html import Table, details, esc, paragraph, table_html
from lllm.results.columns import digits, duration
from lllm.results.records import FINGERPRINTS, Record

__all__ = ["provenance", "run_list"]


def provenance(report: Report) -> str:
    """HTML."""
    parts = _parts(report)
    return (
        f"<h3>Commands</h3>{_commands(report)}<h3>Fingerprints</h3>{_fingerprints(report)}"
        f"<h3>Where it ran</h3>{_origins(report)}"
    ) + (details("Parts, by the digest of their source", table_html(parts, "ids", "Parts")) if parts.rows else "")


def run_list(report: Report) -> str:
    """HTML: what did not finish, in sight; and every run of the table's rows, behind a click."""
    ordered = sorted(report.runs, key=lambda record: (record.variant, record.arm, record.seed, record.name))
    metric = report.comparison.rule.metric
    missing = [record for record in ordered if record.state != "finished"]
    seen = "<h3>Runs that did not finish</h3>" + table_html(_runs(missing, metric), "wrap", "Unfinished runs")
    every = details(f"All {len(ordered)} runs", table_html(_runs(ordered, metric), "wrap", "Runs"))
    return (seen if missing else "") + every


def _runs(records: Sequence[Record], metric: str) -> Table:
    rows = [
        [
            record.name,
            record.state,
            digits(record.value(metric)),
            str((record.result or {}).get("steps") or "-"),
            duration(record.value("seconds")),
            record.reason or ("" if record.path or record.state == "deleted" else "known from runs.jsonl alone"),
        ]
        for record in records
    ]
    marks = ["aside" if record.aside else "" for record in records]
    return Table(["run", "state", metric, "steps", "time", "what is to be known"], rows, right=(2, 3, 4), marks=marks)


def _commands(report: Report) -> str:
    comparison = report.comparison
    seeds = sorted({seed for series in report.series for seed in series.row.seeds})
    words = ["lllm", "run", comparison.experiment, *(["--seeds", ",".join(map(str, seeds))] if seeds else [])]
    made = comparison.command.split(" && ") if comparison.command else [shlex.join(words)]
    label = ["--as", comparison.label] if comparison.label else []
    tables = [shlex.join(["lllm", verb, comparison.experiment, *label]) for verb in ("compare", "report")]
    typed = sorted({shlex.join(["lllm", *map(str, argv)]) for r in report.runs if (argv := origin(r).get("argv"))})
    if not typed:
        return _lines([*made, *tables])
    told = paragraph("As they were typed, of the runs whose directories are here:", "caption")
    return _lines([*made, *tables]) + told + _lines(typed)


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
    known = [found for record in report.runs if (found := origin(record))]
    counts = Counter((_git(of.get("git")), _pairs(of.get("environment")), _pairs(of.get("kernels"))) for of in known)
    rows = [[str(n), *key] for key, n in sorted(counts.items())]
    table = Table(["runs", "commit", "environment", "kernels"], rows, right=(0,))
    body = table_html(table, "wrap", "Origins") if rows else ""
    if unknown := len(report.runs) - len(known):
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
        values = ", ".join(
            f"{k} {value if isinstance(value, str) else json.dumps(value)}" for k, value in values.items()
        )
    return str(values or "-")


def _parts(report: Report) -> Table:
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for series in report.series:
        for name, part in series.runs[0].parts.items():
            found[name, str(part.get("version")), str(part.get("digest"))].append(series.name)
    every = len(report.series)
    rows = [[*key, ", ".join(names) if len(names) < every else "all rows"] for key, names in sorted(found.items())]
    return Table(["part", "version", "digest", "in"], rows)


def _lines(commands: Sequence[str]) -> str:
    return f"<pre>{esc(chr(10).join(commands))}</pre>"
