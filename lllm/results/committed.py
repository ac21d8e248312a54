"""results/EXPERIMENT/runs.jsonl: small, committed, enough to print every table and to train a row again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.blocks import blocks_of, packed
from lllm.results.files import dumps, parse_lines, read_metrics, write_bytes
from lllm.results.index import index
from lllm.results.named import WORDS, newest_arms, words_of
from lllm.results.records import INFO, MAYBE, Record

__all__ = ["load_records", "read_committed", "write_committed"]

FILE = "runs.jsonl"
POINTS = 50  # a curve keeps at most so many
_PART = ("digest", "version")  # of a part; its path is this machine's business
_DIGITS = 6  # significant digits of a curve's values; the numbers themselves are kept in full


def write_committed(root: Path, experiment: str, records: Iterable[Record]) -> Path:
    """Write the finished ones of `records` to runs.jsonl, beside lines of runs that are not among them.

    A line is replaced by a run of the same variant, arm and seed and never dropped, so that a clone without run
    directories loses nothing; a name that another arm carries now is taken off it. The same content gives the same
    bytes; a file that has them already is left alone.
    """
    path = root / experiment / FILE
    known = {_key(record): record for record in read_committed(root, experiment)}
    ordered = sorted(records, key=lambda record: record.finished_at)
    for record in ordered:
        if record.state == "finished" and not _same(known.get(_key(record)), record):
            known[_key(record)] = record
    carried = newest_arms(ordered)
    lines = [_line(_unnamed(known[key], carried)) for key in sorted(known)]
    data = "".join(f"{line}\n" for line in lines).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)
    return path


def read_committed(root: Path, experiment: str) -> list[Record]:
    """The runs of runs.jsonl, all finished; none when there is no such file.

    Raises:
        UserError: a line is damaged.
    """
    path = root / experiment / FILE
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(parse_lines(path, path.read_bytes()), start=1):
        try:
            records.append(
                Record(
                    experiment=experiment,
                    variant=str(line["variant"]),
                    arm=str(line["arm"]),
                    seed=int(line["seed"]),
                    state="finished",
                    info={key: line.get(key) for key in INFO} | ({WORDS: line[WORDS]} if WORDS in line else {}),
                    result=dict(line["result"]),
                    curves=dict(line.get("curves") or {}),
                    blocks=line.get("blocks"),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, line {number}: not a run ({error}); the file is damaged") from None
    return records


def load_records(root: Path, experiment: str | None = None) -> list[Record]:
    """Every run below `root`: its directory where there is one, its committed line where there is none."""
    found = index(root, experiment)
    here = {(r.experiment, *_place(r)) for r in found if r.readable or r.path is None or r.path.name == f"s{r.seed}"}
    names = [experiment] if experiment else sorted(path.parent.name for path in root.glob(f"*/{FILE}"))
    committed = [record for name in names for record in read_committed(root, name)]
    return found + [record for record in committed if (record.experiment, *_place(record)) not in here]


def _key(record: Record) -> tuple[str, str, int]:
    return record.variant, record.arm, record.seed


def _place(record: Record) -> tuple[str, str, int]:
    """Its directory: of a run whose run.json is damaged, no more of the arm is known than the directory's name."""
    return record.variant, record.arm[:8], record.seed


def _unnamed(record: Record, carried: Mapping[tuple[str, str], str]) -> Record:
    """Without its name when another arm of its variant carries that now."""
    if carried.get((record.variant, record.label), record.arm) == record.arm:
        return record
    return replace(record, info={**record.info, "name": None})


def _same(old: Record | None, new: Record) -> bool:
    """Whether a line is there already: its curves need not be read again."""
    facts = ("fingerprints", "name", "baseline", *MAYBE)
    return old is not None and old.result == new.result and all(old.info.get(f) == new.info.get(f) for f in facts)


def _line(record: Record) -> str:
    info = {key: record.info.get(key) for key in INFO if key not in MAYBE or record.info.get(key) is not None}
    parts = {name: {key: part.get(key) for key in _PART} for name, part in record.parts.items()}
    curves = _curves(read_metrics(record.path / "metrics.jsonl")) if record.path else record.curves
    blocks = blocks_of(record)
    line = {
        "experiment": record.experiment,
        "variant": record.variant,
        **info,
        "arm": record.arm,
        "seed": record.seed,
        "parts": parts,
        "result": record.result,
        "curves": curves,
    }
    if blocks is not None:
        line["blocks"] = packed(blocks)
    if record.label:
        line[WORDS] = words_of(record)
    return json.dumps(json.loads(dumps(line)), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"loss": [[step, value], ...], "bpb": ...}, each thinned."""
    return {
        field: thin([[record["step"], _round(record[field])] for record in metrics if record.get(field) is not None])
        for field in ("loss", "bpb")
    }


def thin(points: Sequence[Any], most: int = POINTS) -> list[Any]:
    """At most `most` of `points`, evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
