"""results/ledger.jsonl: a line for each run that was begun, so that none is begun, looked at and forgotten.

A run's line is appended before its directory is made; how it ended is in the directory. A begun run that is in no
directory and no committed line is *deleted*, and so is one that `lllm delete` struck out, whatever committed lines say.
The file is of one results folder and is not committed: what a clone has to know is in its committed lines. Trials of
sweeps are not in it; they are never evidence, and their study lists them.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.files import dumps, explained
from lllm.results.records import FINGERPRINTS, Record, lists_sound

__all__ = ["FILE", "Place", "damaged_lines", "enter", "place_of", "read_ledger", "reconciled", "strike", "struck"]

FILE = "ledger.jsonl"
_NAMES = ("experiment", "variant", "arm")
_KEPT = ("name", "baseline", "planned", "looks", "family", "against")  # of run.json, beside who the run is

Line = Mapping[str, Any]
Place = tuple[str, str, str, int]  # experiment, variant, first digits of the arm, seed: a directory


def enter(root: Path, info: Mapping[str, Any]) -> int:
    """Append the line of a run that begins. info: its run.json. Returns how many arms have been begun by now that are
    set against its baseline on its data, each code of one counted; 0 where the baseline is not known.

    Raises:
        UserError: the file cannot be written.
    """
    _append(root, _line(info))
    against, data = info.get("against"), (info.get("fingerprints") or {}).get("data")
    lines = [line for line in read_ledger(root) if line.get("against") == against] if against else []
    mine = [prints for line in lines if (prints := line["fingerprints"]).get("data") == data]
    return len({(prints["arm"], prints.get("code")) for prints in mine} - {(against, p.get("code")) for p in mine})


def strike(root: Path, record: Record) -> None:
    """Append that the run is deleted; errors as in `enter`."""
    who = {name: getattr(record, name) for name in (*_NAMES, "seed")}
    _append(root, {**_line({**record.info, **who}), "deleted": True})


def read_ledger(root: Path) -> list[Line]:
    """Its lines in their order; what a killed process left of one is no line."""
    return [line for line in _lines(root) if line is not None]


def damaged_lines(root: Path) -> list[int]:
    """Numbers of lines that say nothing, from 1."""
    return [number for number, line in enumerate(_lines(root), start=1) if line is None]


def struck(ledger: Iterable[Line]) -> set[Place]:
    """Runs that were deleted, and not begun again since."""
    last = {_place(line): bool(line.get("deleted")) for line in ledger}
    return {place for place, deleted in last.items() if deleted}


def reconciled(records: Sequence[Record], ledger: Iterable[Line], experiment: str | None) -> list[Record]:
    """The records, and one in state 'deleted' for each run of the ledger that is not among them. Each has the seeds of
    all lists with which its arm was begun, wherever that was, and all variants that its experiment ever set against
    its baseline on its data. experiment: whose records they are; None: of all."""
    last: dict[Place, Line] = {}
    times: Counter[Place] = Counter(place_of(record) for record in records if record.aside)  # begun anew, then kept
    seeds: dict[tuple[str, ...], set[int]] = defaultdict(set)
    families: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for line in ledger:
        seeds[_identity(line)].update(() if line.get("looks") else line.get("planned") or [line["seed"]])
        families[_question(line)].update(line.get("family") or ())
        if experiment in (None, line["experiment"]):
            last[_place(line)] = line
            times[_place(line)] -= 1
    there = {place_of(record) for record in records if not record.aside}
    deleted = [
        Record(line["experiment"], line["variant"], line["arm"], line["seed"], "deleted", info=line)
        for place, line in last.items()
        if place not in there and (line.get("deleted") or times[place] < 0)
    ]
    found = []
    for record in (*records, *deleted):
        line = {"experiment": record.experiment, **record.info}
        known = {"begun": seeds.get(_identity(line), ()), "family": families.get(_question(line), ())}
        more = {name: sorted({*some, *(line.get(name) or ())}) for name, some in known.items()}
        more = {name: some for name, some in more.items() if set(some) - set(line.get(name) or ())}
        found.append(replace(record, info={**record.info, **more}) if more else record)
    return found


def place_of(record: Record) -> Place:
    """Its directory: of a run whose run.json is damaged, no more of the arm is known than the directory's name."""
    return record.experiment, record.variant, record.arm[:8], record.seed


def _line(info: Mapping[str, Any]) -> dict[str, Any]:
    who = {name: info[name] for name in (*_NAMES, "seed")}
    kept = {name: info[name] for name in _KEPT if info.get(name) is not None}
    known = info.get("fingerprints") or {}
    prints = {**{name: known.get(name) for name in FINGERPRINTS}, "arm": info["arm"]}
    return {**who, **kept, "fingerprints": prints, "time": round(time.time(), 3)}


def _append(root: Path, line: Mapping[str, Any]) -> None:
    """One write to a file opened for appending: lines of processes that begin runs at once stand one after another."""
    path = root / FILE
    with explained(path):
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # of a process that was killed as it wrote
            data = ("\n" * torn + dumps(line) + "\n").encode()
            if os.write(descriptor, data) < len(data):
                raise OSError(f"only a part of a line of {len(data)} bytes was written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lines(root: Path) -> list[Line | None]:
    """Each line, None for one that is damaged; a UserError where the file may not be read."""
    try:
        data = (root / FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{root / FILE}: cannot be read ({error.strerror})") from None
    return [_parsed(text) for text in data.splitlines() if text]


def _parsed(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
        sound = isinstance(line["seed"], int) and all(isinstance(line[name], str) for name in _NAMES)
        prints = line["fingerprints"]
        sound = sound and lists_sound(line) and all(isinstance(value, str | None) for value in prints.values())
        return line if sound and prints["arm"] == line["arm"] else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _place(line: Line) -> Place:
    return line["experiment"], line["variant"], line["arm"][:8], line["seed"]


def _identity(info: Line) -> tuple[str, ...]:
    """Runs that share it are one arm under one code, data and evaluator."""
    prints = info.get("fingerprints") or {}
    return str(info.get("arm")), *(str(prints.get(name) or "") for name in FINGERPRINTS)


def _question(info: Line) -> tuple[str, ...]:
    """Runs that share it were to be set against one baseline on the same data, by one file."""
    data = (info.get("fingerprints") or {}).get("data")
    return str(info.get("experiment")), str(info.get("against")), str(data)
