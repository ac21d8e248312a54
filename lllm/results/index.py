"""All runs below a root, through a cache that is rebuilt whenever it is absent, damaged or behind the files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.files import dumps, found_object, write_bytes
from lllm.results.probed import FILE as PROBE
from lllm.results.probed import summary
from lllm.results.records import INFO, Record, lists_sound
from lllm.results.state import ASIDE, state_of

__all__ = ["index"]

CACHE = ".index.json"
_VERSION = f"3 {' '.join(INFO)}"  # of its form, and what it keeps of a run.json
_FILES = ("run.json", "result.json", "status.json", PROBE)
_WORTH_WRITING = 16  # directories read anew beyond which the cache is written: reading a few costs less than that
_SHARED = {"config", "fingerprints", "parts", "sizes", "budget", "rule", "planned", "family", "machine"}
_SEED = re.compile(r"s(\d+)")

Signature = list[int]  # modification time (ns), size and inode of each of _FILES, zeros when absent
Entry = list[Any]  # [signature, info, result, status]


def index(root: Path, experiment: str | None = None) -> list[Record]:
    """Every run directory below `root`, or below one experiment of it, by path. A damaged run.json counts as empty."""
    cached = _read_cache(root)
    mine = f"{experiment}/" if experiment else ""
    others = {place: entry for place, entry in cached.items() if not place.startswith(mine)}
    entries: dict[str, Entry] = {}
    changed = len(cached) - len(others)  # those found unchanged are taken off again; what is left has gone or moved on
    for place, signature in _scan(root, experiment):
        entry = cached.get(place)
        if entry is None or entry[0] != signature:
            entry = _read_entry(root / place, signature)
            changed += 1
        else:
            changed -= 1
        entries[place] = entry
    if changed > _WORTH_WRITING:
        _write_cache(root, others | entries)
    now = time.time()
    return [_record(root, place, entries[place], now) for place in sorted(entries)]


def _scan(root: Path, experiment: str | None) -> Iterator[tuple[str, Signature]]:
    """The run directories, as EXPERIMENT/VARIANT/ARM8/sSEED, and what their files look like from outside."""
    for top in [experiment] if experiment else _folders(str(root)):
        for variant in _folders(f"{root}/{top}"):
            for arm in _folders(f"{root}/{top}/{variant}"):
                for seed in _folders(f"{root}/{top}/{variant}/{arm}"):
                    if _SEED.match(seed):
                        place = f"{top}/{variant}/{arm}/{seed}"
                        yield place, _signature(f"{root}/{place}")


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # removed meanwhile, or not ours to see
        return []


def _signature(path: str) -> Signature:
    signature: Signature = []
    for name in _FILES:
        try:
            found = os.stat(f"{path}/{name}")
            signature += (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            signature += (0, 0, 0)
    return signature


def _read_entry(path: Path, signature: Signature) -> Entry:
    inodes = dict(zip(_FILES, signature[2::3], strict=True))
    info, result, status, probe = (found_object(path / name) if inode else None for name, inode in inodes.items())
    kept = {key: (info or {}).get(key) for key in INFO} | {"probe": summary(probe or {})}
    if isinstance(kept["config"], dict):
        kept["config"] = kept["config"].get("semantic")
    return [signature, kept if _sound(kept) else {}, result or None, status]


def _sound(info: Mapping[str, Any]) -> bool:
    """Whether what the tables look into has the shape they expect; hand-edited files may not."""
    inner = (info.get("config"), info.get("fingerprints"), info.get("parts"))
    return all(isinstance(value, dict | None) for value in inner) and lists_sound(info)


def _record(root: Path, place: str, entry: Entry, now: float) -> Record:
    signature, info, result, status = entry
    experiment, variant, arm8, seed = place.split("/")
    number = _SEED.match(seed)
    known = bool(info.get("arm")) and str(info["arm"]).startswith(arm8)
    state = state_of(result is not None, status, now - signature[6] / 1e9)
    bad = [name for name, there, sound in (("run", 2, known), ("result", 5, result)) if signature[there] and not sound]
    if bad and state != "running":
        state = "damaged"
    return Record(
        experiment=experiment,
        variant=variant,
        arm=str(info["arm"]) if known else arm8,
        seed=info["seed"] if isinstance(info.get("seed"), int) else int(number[1] if number else 0),
        state=state,
        info=info,
        result=result,
        reason=f"{bad[0]}.json is damaged" if bad else _reason(status, seed),
        path=root / place,
    )


def _reason(status: Mapping[str, Any] | None, place: str) -> str:
    """Why it ended, and why it was moved aside: as recorded, or as the directory's last part says (s0.stale)."""
    told = status or {}
    ended = str(told.get("reason") or told.get("rule") or "")
    _, dot, kind = place.partition(".")
    aside = f"set aside: {told.get(ASIDE) or kind.rstrip('0123456789')}" if dot else ""
    return "; ".join(filter(None, (ended, aside)))


def _read_cache(root: Path) -> dict[str, Entry]:
    """place -> entry; nothing when the cache is absent, damaged, or of another version."""
    cache = found_object(root / CACHE) or {}
    runs, shared = cache.get("runs"), cache.get("shared")
    if cache.get("version") != _VERSION or not isinstance(runs, dict) or not isinstance(shared, list):
        return {}
    try:
        for _, info, _, _ in runs.values():
            for key in _SHARED & info.keys():
                info[key] = shared[info[key]]
    except (AttributeError, IndexError, TypeError, ValueError):
        return {}
    return {place: entry for place, entry in runs.items() if _is_entry(entry)}


def _is_entry(entry: Entry) -> bool:
    kinds = (list, dict, dict | None, dict | None)
    return all(map(isinstance, entry, kinds)) and _sound(entry[1])


def _write_cache(root: Path, entries: Mapping[str, Entry]) -> None:
    """Best effort: a folder that may only be read, or a full disk, costs time and nothing else."""
    pool: dict[str, int] = {}  # what seeds and arms have in common is written once: most of the file, and of its time
    runs = {}
    for place, (signature, info, result, status) in entries.items():
        packed = {
            key: pool.setdefault(dumps(value), len(pool)) if key in _SHARED else value for key, value in info.items()
        }
        runs[place] = [signature, packed, result, status]
    shared = "[" + ",".join(pool) + "]"
    with suppress(UserError):
        write_bytes(root / CACHE, f'{{"version": "{_VERSION}", "shared": {shared}, "runs": {dumps(runs)}}}'.encode())
