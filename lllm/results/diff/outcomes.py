"""What two runs gave: document by document, and at which step their logs part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from lllm.errors import UserError
from lllm.results.documents import Documents
from lllm.results.files import WALL_FIELDS, dumps
from lllm.results.records import differences
from lllm.results.run import Run

__all__ = ["Curves", "Documented", "curves", "documented"]

_LARGEST = 10  # differences that are listed


@dataclass(frozen=True)
class Documented:
    """Nats of `b` less those of `a`, each by its primary likelihood, over the documents that both scored."""

    likelihoods: tuple[str, str]
    shared: int
    only_a: int
    only_b: int
    better: int
    worse: int
    total: float
    largest: tuple[dict[str, Any], ...]


def documented(a: Run, b: Run) -> Documented:
    """Pair the documents of two finished runs.

    Raises:
        UserError: one is not finished, has no nats, or its documents.npz is missing or damaged.
    """
    import numpy as np

    names = (_likelihood(a), _likelihood(b))
    first, second = a.documents(), b.documents()
    for run, documents, name in zip((a, b), (first, second), names, strict=True):
        if name not in documents.nats:
            raise UserError(f"{run.path / 'documents.npz'}: no nats of the likelihood '{name}'; the file is damaged")
    places: dict[tuple[bytes, int], list[int]] = defaultdict(list)  # the same document may be there twice
    for i, key in enumerate(_keys(second)):
        places[key].append(i)
    pairs = [(i, places[key].pop(0)) for i, key in enumerate(_keys(first)) if places.get(key)]
    mine, theirs = np.array(pairs, dtype=int).reshape(-1, 2).T
    nats_a, nats_b = first.nats[names[0]][mine], second.nats[names[1]][theirs]
    gap = nats_b - nats_a
    order = np.argsort(-np.abs(gap), kind="stable")[:_LARGEST]
    largest = []
    for i in order:
        which = {"hash": bytes(first.hash[mine[i]]).hex(), "bytes": int(first.bytes[mine[i]])}
        largest.append({**which, "a": float(nats_a[i]), "b": float(nats_b[i]), "difference": float(gap[i])})
    return Documented(
        likelihoods=names,
        shared=len(pairs),
        only_a=len(first.hash) - len(pairs),
        only_b=len(second.hash) - len(pairs),
        better=int((gap < 0).sum()),
        worse=int((gap > 0).sum()),
        total=float(gap.sum()),
        largest=tuple(largest),
    )


def _keys(documents: Documents) -> list[tuple[bytes, int]]:
    """Which document, and how much of it was scored: the last one may be cut, and not at the same byte in both runs."""
    return list(zip(map(bytes, documents.hash), map(int, documents.bytes), strict=True))


def _likelihood(run: Run) -> str:
    result = run.result
    if result is None:
        raise UserError(f"{run.name}: not finished, so that its documents are not scored; expected a finished run")
    name = str(result.get("likelihood"))
    if result.get("kind") == "none":
        raise UserError(f"{run.name}: '{name}' has no nats, it is no likelihood; expected a run with one")
    return name


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
    nothing: dict[str, Any] = {}
    for mine, theirs in zip_longest(map(_lasting, a), map(_lasting, b), fillvalue=nothing):
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
