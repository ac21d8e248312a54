"""Two runs document by document."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from lllm.errors import UserError
from lllm.results.documents import Documents
from lllm.results.run import Run

__all__ = ["LARGEST", "Documented", "documented"]

LARGEST = 10


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
    places = _places(second)
    pairs = [(i, places[key].pop(0)) for i, key in enumerate(_keys(first)) if places.get(key)]
    mine, theirs = np.array(pairs, dtype=int).reshape(-1, 2).T
    nats_a, nats_b = first.nats[names[0]][mine], second.nats[names[1]][theirs]
    gap = nats_b - nats_a
    order = np.argsort(-np.abs(gap), kind="stable")[:LARGEST]
    largest = tuple(
        {
            "hash": bytes(first.hash[mine[i]]).hex(),
            "bytes": int(first.bytes[mine[i]]),
            "a": float(nats_a[i]),
            "b": float(nats_b[i]),
            "difference": float(gap[i]),
        }
        for i in order
    )
    return Documented(
        likelihoods=names,
        shared=len(pairs),
        only_a=len(first.hash) - len(pairs),
        only_b=len(second.hash) - len(pairs),
        better=int((gap < 0).sum()),
        worse=int((gap > 0).sum()),
        total=float(gap.sum()),
        largest=largest,
    )


def _keys(documents: Documents) -> list[tuple[bytes, int]]:
    """Which document, and how much of it was scored: the last one may be cut, and not at the same byte in both runs."""
    return list(zip(map(bytes, documents.hash), map(int, documents.bytes), strict=True))


def _places(documents: Documents) -> dict[tuple[bytes, int], list[int]]:
    """key -> where it is: the same document may be there twice."""
    places: dict[tuple[bytes, int], list[int]] = defaultdict(list)
    for i, key in enumerate(_keys(documents)):
        places[key].append(i)
    return places


def _likelihood(run: Run) -> str:
    result = run.result
    if result is None:
        raise UserError(f"{run.name}: not finished, so that its documents are not scored; expected a finished run")
    name = str(result.get("likelihood"))
    if result.get("kind") == "none":
        raise UserError(f"{run.name}: '{name}' has no nats, it is no likelihood; expected a run with one")
    return name
