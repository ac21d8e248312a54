"""results/EXPERIMENT/runs.jsonl: small, committed, enough to print every table and to train a row again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.documents import blocks_of, packed
from lllm.results.files import dumps, parse_lines, read_metrics, write_changed
from lllm.results.index import index
from lllm.results.ledger import place_of, read_ledger, reconciled, struck
from lllm.results.named import WORDS, newest_arms, words_of
from lllm.results.records import INFO, MAYBE, Record, flatten, lists_sound

__all__ = ["load_records", "read_committed", "runs", "thin", "write_committed"]

FILE = "runs.jsonl"
POINTS = 50  # a curve keeps at most so many
_PART = ("digest", "version")  # of a part; its path is this machine's business
_DIGITS = 6  # significant digits of a curve's values; the numbers themselves are kept in full


def write_committed(root: Path, experiment: str, records: Iterable[Record]) -> Path:
    """Write `records` to runs.jsonl, beside lines of runs that are not among them. Those that did not finish have lines
    that say so: a clone's table lacks as many seeds as this one.

    A line is replaced by a run of the same variant, arm and seed and dropped only when that was deleted; every other
    one stays byte for byte, so that a clone without run directories loses nothing. A name that another arm carries now
    is taken off. The same content gives the same bytes; a file that has them already is left alone.
    """
    path = root / experiment / FILE
    there = _read(path)
    texts = {id(record): text for record, text in there}
    gone = struck(read_ledger(root))
    known = {_key(record): record for record, _ in there if place_of(record) not in gone}
    ordered = sorted(records, key=lambda record: (record.state == "finished", record.finished_at))
    for record in ordered:  # what was trained anew comes last and stays
        if not _same(known.get(_key(record)), record):
            known[_key(record)] = record
    carried = newest_arms(ordered)
    kept = [_unnamed(known[key], carried) for key in sorted(known)]
    write_changed(path, "".join(f"{texts.get(id(record)) or _line(record)}\n" for record in kept).encode())
    return path


def read_committed(root: Path, experiment: str) -> list[Record]:
    """The runs of runs.jsonl: finished ones, and how those of their arms stand that are not; none without the file.

    Raises:
        UserError: a line is damaged, or two say different things of one run.
    """
    return [record for record, _ in _read(root / experiment / FILE)]


def load_records(root: Path, experiment: str | None = None) -> list[Record]:
    """Every run below `root`: its directory where there is one, its committed line where there is none, what the ledger
    says where there is neither."""
    found, ledger = index(root, experiment), read_ledger(root)
    names = [experiment] if experiment else sorted(path.parent.name for path in root.glob(f"*/{FILE}"))
    known = {place_of(record) for record in found if not record.aside} | struck(ledger)  # here, or deleted here
    committed = [record for name in names for record in read_committed(root, name) if place_of(record) not in known]
    return reconciled([*found, *committed], ledger, experiment)


def runs(root: Path | str = "results", experiment: str | None = None) -> list[dict[str, Any]]:
    """One flat mapping per run, finished or not: who it is, its state, its numbers, its metrics as 'metrics.accuracy',
    its config as 'config.train.lr'."""
    return [_flat(record) for record in load_records(Path(root), experiment)]


def _read(path: Path) -> list[tuple[Record, str]]:
    """Each run with its line; errors as in `read_committed`. Of equal lines, as git's union merge leaves them, the
    first counts."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    found: list[tuple[Record, str]] = []
    first: dict[tuple[str, str, int], tuple[int, Mapping[str, Any]]] = {}
    for number, (line, text) in enumerate(zip(parse_lines(path, data), data.splitlines(), strict=True), start=1):
        try:
            record = _parsed(path.parent.name, line)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, line {number}: not a run ({error}); the file is damaged") from None
        before, same = first.setdefault(_key(record), (number, line))
        if before == number:
            found.append((record, text.decode()))
        elif same != line:
            run = f"{record.variant}, arm {record.arm[:8]}, seed {record.seed}"
            raise UserError(f"{path}, lines {before} and {number}: both are of {run}, and differ; expected one per run")
    return found


def _parsed(experiment: str, line: Mapping[str, Any]) -> Record:
    if not lists_sound(line):
        raise ValueError("planned seeds or the family are no lists of such")
    return Record(
        experiment=experiment,
        variant=str(line["variant"]),
        arm=str(line["arm"]),
        seed=int(line["seed"]),
        state=line.get("state", "finished"),
        info={key: line.get(key) for key in INFO} | ({WORDS: line[WORDS]} if WORDS in line else {}),
        result=None if "state" in line else dict(line["result"]),
        reason=str(line.get("reason") or ""),
        curves=dict(line.get("curves") or {}),
        blocks=line.get("blocks"),
    )


def _key(record: Record) -> tuple[str, str, int]:
    return record.variant, record.arm, record.seed


def _unnamed(record: Record, carried: Mapping[tuple[str, str], str]) -> Record:
    """Without its name when another arm of its variant carries that now."""
    if carried.get((record.variant, record.label), record.arm) == record.arm:
        return record
    return replace(record, info={**record.info, "name": None})


def _same(old: Record | None, new: Record) -> bool:
    """Whether a line is there already: its curves need not be read again."""
    facts = ("fingerprints", "name", "baseline", *MAYBE)
    if old is None or (old.state, old.reason, old.result) != (new.state, new.reason, new.result):
        return False
    return all(old.info.get(f) == new.info.get(f) for f in facts)


def _line(record: Record) -> str:
    info = {key: record.info.get(key) for key in INFO if key not in MAYBE or record.info.get(key) is not None}
    who = {"experiment": record.experiment, "variant": record.variant, **info, "arm": record.arm, "seed": record.seed}
    if record.state != "finished":
        known = {**who, "state": record.state, "reason": record.reason}
        return _dumped({key: value for key, value in known.items() if value not in (None, "")})
    parts = {name: {key: part.get(key) for key in _PART} for name, part in record.parts.items()}
    curves = _curves(read_metrics(record.path / "metrics.jsonl")) if record.path else record.curves
    line = {**who, "parts": parts, "result": record.result, "curves": curves}
    if (blocks := blocks_of(record)) is not None:
        line["blocks"] = packed(blocks)
    if record.label:
        line[WORDS] = words_of(record)
    return _dumped(line)


def _dumped(line: Mapping[str, Any]) -> str:
    return json.dumps(json.loads(dumps(line)), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"loss": [[step, value], ...], "bpb": ...}, each thinned."""
    logged = {field: [r for r in metrics if r.get(field) is not None] for field in ("loss", "bpb")}
    return {
        field: thin([[r["step"], float(f"{r[field]:.{_DIGITS}g}")] for r in lines]) for field, lines in logged.items()
    }


def thin(points: Sequence[Any], most: int = POINTS) -> list[Any]:
    """At most `most` of `points`, evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _flat(record: Record) -> dict[str, Any]:
    identity = {
        "run": record.name,
        "experiment": record.experiment,
        "variant": record.variant,
        "arm": record.arm,
        "seed": record.seed,
        "name": record.label or None,
        "state": record.state,
        "reason": record.reason or None,
        "path": str(record.path) if record.path else None,
        "steps": record.info.get("steps"),
    }
    numbers = {name: value for name, value in (record.result or {}).items() if name != "metrics"}
    measured = {f"metrics.{name}": value for name, value in record.metrics.items()}
    trees = {
        "fingerprint": record.info.get("fingerprints") or {},
        "size": record.info.get("sizes") or {},
        "config": record.config,
    }
    return {**identity, **numbers, **measured, **flatten(trees)}
