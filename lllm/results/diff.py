"""What sets two runs apart: config, parts, code, data, environment; document by document; step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lllm.errors import UserError
from lllm.results.documents import Documents
from lllm.results.files import WALL_FIELDS, dumps
from lllm.results.records import differences
from lllm.results.run import Run

__all__ = ["Curves", "Difference", "Documented", "diff"]

LARGEST = 10
_RUN = ("arm", "seed", "steps", "budget", "sizes", "kernels", "git")
_RESULT = ("bpb", "kind", "likelihood", "parameters", "train_flops_per_byte", "train_bytes")


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


@dataclass(frozen=True)
class Curves:
    """Where metrics.jsonl parts, bit for bit outside wall-clock and memory fields; `step` None: nowhere.

    fields: {"path", "a", "b"} at that step; end: {"step", "field", "a", "b", "difference"} of the last loss and bpb
    that both logged at the same step.
    """

    step: int | None
    fields: tuple[dict[str, Any], ...]
    end: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Difference:
    """Section -> entries {"path", "a", "b"}; an entry lacks the side that has no such path. No sections: the same."""

    a: str
    b: str
    sections: Mapping[str, Sequence[dict[str, Any]]]
    documents: Documented | None = None
    curves: Curves | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def diff(a: Run, b: Run, *, docs: bool = False, curves: bool = False) -> Difference:
    """What differs between two runs, finished or not.

    Raises:
        UserError: a file that is needed is missing or damaged.
    """
    first, second = a.info, b.info
    compared: dict[str, tuple[Any, Any]] = {
        "config": (_in(first, "config", "semantic"), _in(second, "config", "semantic")),
        "parts": (_parts(first), _parts(second)),
        "fingerprints": (_in(first, "fingerprints"), _in(second, "fingerprints")),
        "execution": (_in(first, "config", "execution"), _in(second, "config", "execution")),
        "run": (_some(first, _RUN), _some(second, _RUN)),
        "environment": (_in(first, "environment"), _in(second, "environment")),
        "result": (_result(a), _result(b)),
    }
    sections = {name: differences(*sides) for name, sides in compared.items()}
    return Difference(
        a.name,
        b.name,
        {name: found for name, found in sections.items() if found},
        _documented(a, b) if docs else None,
        _curves(a.metrics(), b.metrics()) if curves else None,
    )


def _in(tree: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    value: Any = tree
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _some(tree: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: tree[key] for key in keys if key in tree}


def _result(run: Run) -> dict[str, Any]:
    result = run.result or {}
    metrics = _in(result, "metrics")
    return {**_some(result, _RESULT), **({"metrics": metrics} if metrics else {})}


def _parts(info: Mapping[str, Any]) -> dict[str, Any]:
    """Without the paths: where a file lies says nothing of what is in it."""
    return {name: _some(part, ("digest", "version")) for name, part in _in(info, "parts").items()}


def _documented(a: Run, b: Run) -> Documented:
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


def _curves(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> Curves:
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
