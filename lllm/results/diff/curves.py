"""At which step the logs of two runs part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lllm.results.files import WALL_FIELDS, dumps
from lllm.results.records import differences

__all__ = ["Curves", "curves"]


@dataclass(frozen=True)
class Curves:
    """Where metrics.jsonl parts, bit for bit outside wall-clock and memory fields; `step` None: nowhere.

    fields: {"path", "a", "b"} at that step; end: {"step", "field", "a", "b", "difference"} of the last loss and bpb
    that both logged at the same step.
    """

    step: int | None
    fields: tuple[dict[str, Any], ...]
    end: tuple[dict[str, Any], ...]


def curves(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> Curves:
    """Compare the lines of two metrics.jsonl."""
    end = tuple(entry for field in ("loss", "bpb") for entry in _end(a, b, field))
    for i in range(max(len(a), len(b))):
        mine, theirs = (_lasting(records[i]) if i < len(records) else {} for records in (a, b))
        if dumps(mine) != dumps(theirs):
            return Curves(int((mine or theirs).get("step", 0)), tuple(differences(mine, theirs)), end)
    return Curves(None, (), end)


def _lasting(record: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that no two runs share; in a fixed order, so that only values can differ."""
    return {key: record[key] for key in sorted(record) if key not in WALL_FIELDS}


def _end(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]], field: str) -> list[dict[str, Any]]:
    """The last step at which both logged `field`, as no entry or one."""
    mine, theirs = ({r["step"]: r[field] for r in records if r.get(field) is not None} for records in (a, b))
    shared = mine.keys() & theirs.keys()
    if not shared:
        return []
    step = max(shared)
    values = {"a": mine[step], "b": theirs[step], "difference": theirs[step] - mine[step]}
    return [{"step": step, "field": field, **values}]
