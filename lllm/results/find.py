"""A run from what a user typed: its directory, or any unambiguous part of its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from lllm.errors import UserError, nearest
from lllm.results.committed import load_records
from lllm.results.named import as_filed
from lllm.results.records import Record
from lllm.results.run import Run

__all__ = ["find_record", "find_run"]

_LISTED = 12
_NARROWER: tuple[Callable[[Record], bool], ...] = (
    lambda record: record.path is not None,
    lambda record: not record.info.get("trial"),
    as_filed,
    lambda record: not record.info.get("tuned"),
)


def find_run(root: Path, text: str, others: Iterable[str] = ()) -> Run:
    """The run that `text` means, as `find_record` finds it; errors as there, and where its directory is not here."""
    if os.path.isfile(os.path.join(text, "run.json")):
        return Run(text)
    found = find_record(root, text, others)
    if found.path is None:
        why = "deleted" if found.state == "deleted" else "known from runs.jsonl alone"
        raise UserError(f"run '{text}': {found.name} is {why}; expected a run whose directory is here: train it first")
    return Run(found.path)


def find_record(root: Path, text: str, others: Iterable[str] = ()) -> Record:
    """The run that `text` means: a directory; what `--as` called it; or part of EXPERIMENT/VARIANT/ARM8/sSEED.

    Whole components win over parts of them, and need not be neighbours: 'small/s1' is seed 1 of small, not of
    small_long. Of several, those whose directory is here win, of these the ones that no sweep tried, of these the ones
    that no setting on a command line changed, and of these the untuned. A directory that was moved aside (s0.stale) is
    meant only where its last part is written in full.
    others: what else could have been meant, for the hint.

    Raises:
        UserError: no run, or several, are meant.
    """
    wanted = text.strip("/").removeprefix(f"{root}/")
    last = wanted.rpartition("/")[2]
    records = [record for record in load_records(root) if not record.aside or record.name.endswith(f"/{last}")]
    found = (
        [record for record in records if wanted and wanted in (record.name, record.label)]
        or [record for record in records if wanted and _has_components(record.name, wanted)]
        or [record for record in records if wanted and wanted in record.name]
    )
    if not found:
        raise UserError(f"run '{text}': there is none below {root}{nearest(wanted, _words(records).union(others))}")
    for narrower in _NARROWER:
        found = [record for record in found if narrower(record)] or found if len(found) > 1 else found
    if len(found) > 1:
        names = ", ".join(record.name for record in found[:_LISTED]) + (", ..." if len(found) > _LISTED else "")
        raise UserError(f"run '{text}': {len(found)} runs are meant; expected more of the name of one of {names}")
    return found[0]


def _has_components(name: str, wanted: str) -> bool:
    """Whether the components of `wanted` are among those of `name`, in that order."""
    components = iter(name.split("/"))
    return all(component in components for component in wanted.split("/"))


def _words(records: list[Record]) -> set[str]:
    """What could have been typed: names, labels, and the shorter forms that differ from them."""
    every = {word for r in records for word in (r.name, r.label, r.variant, f"{r.experiment}/{r.variant}")}
    return every - {""}
