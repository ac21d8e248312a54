"""What sets two runs apart, or a run and its variant as defined now: config, code, data, environment, result."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lllm.results.diff.outcomes import Curves, Documented, documented
from lllm.results.diff.outcomes import curves as curves_of
from lllm.results.records import differences
from lllm.results.run import Run
from lllm.results.sources import source_of

__all__ = ["Difference", "Drifted", "Side", "diff", "diff_now", "inner"]

_RUN = ("arm", "seed", "steps", "budget", "sizes", "kernels", "git")
_RESULT = ("bpb", "kind", "likelihood", "parameters", "train_flops_per_byte", "train_bytes")

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Side:
    """info: as run.json has it, as far as it is known; path: its directory, None of what is only defined."""

    name: str
    info: Mapping[str, Any]
    path: Path | None = None

    @staticmethod
    def of(run: Run) -> Side:
        """A run, finished or not."""
        return Side(run.name, run.info, run.path)

    @property
    def parts(self) -> Mapping[str, Mapping[str, Any]]:
        """'kind/name' -> digest, version, path."""
        return inner(self.info, "parts")


@dataclass(frozen=True)
class Drifted:
    """parts: 'kind/name' of those in one file; a, b: its digests; lines: a unified diff of the source; note: why there
    is none."""

    parts: tuple[str, ...]
    a: str
    b: str
    lines: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """Section -> entries {"path", "a", "b"}; an entry lacks the side that has no such path. No sections: the same.

    code: what changed in the source of parts whose digests differ; now: b is what a's place would be trained as now,
    and has no results.
    """

    a: str
    b: str
    sections: Mapping[str, Sequence[dict[str, Any]]]
    code: tuple[Drifted, ...] = ()
    documents: Documented | None = None
    curves: Curves | None = None
    now: bool = False


def diff(a: Run, b: Run, *, docs: bool = False, curves: bool = False) -> Difference:
    """What differs between two runs, finished or not.

    Raises:
        UserError: a file that is needed is missing or damaged.
    """
    sides = Side.of(a), Side.of(b)
    documents = documented(a, b) if docs else None
    logs = curves_of(a.metrics(), b.metrics()) if curves else None
    return Difference(a.name, b.name, _sections(*sides, (_result(a), _result(b))), _code(*sides), documents, logs)


def diff_now(run: Run, now: Side) -> Difference:
    """What differs between a run and what would be trained in its place now, as far as `now` knows it.

    Raises:
        UserError: run.json is missing or damaged.
    """
    then = Side.of(run)
    return Difference(run.name, now.name, _sections(then, now, ({}, {})), _code(then, now), now=True)


def _sections(a: Side, b: Side, results: Pair) -> dict[str, Sequence[dict[str, Any]]]:
    """The sections that differ. Of a side that is only defined, what it does not know is no difference."""

    def both(*keys: str) -> Pair:
        return inner(a.info, *keys), inner(b.info, *keys)

    known = _RUN if b.path else [key for key in _RUN if key in b.info]
    compared: dict[str, Pair] = {
        "config": both("config", "semantic"),
        "parts": (_parts(a), _parts(b)),
        "fingerprints": both("fingerprints"),
        "execution": both("config", "execution"),
        "run": (_some(a.info, known), _some(b.info, known)),
        "environment": both("environment"),
        "result": results,
    }
    unknown = set() if b.path else {"execution"} | ({"environment"} - b.info.keys())
    sections = {name: differences(*sides) for name, sides in compared.items() if name not in unknown}
    return {name: found for name, found in sections.items() if found}


def _result(run: Run) -> dict[str, Any]:
    result = run.result or {}
    metrics = inner(result, "metrics")
    return {**_some(result, _RESULT), **({"metrics": metrics} if metrics else {})}


def _parts(side: Side) -> dict[str, Any]:
    """Without the paths: where a file lies says nothing of what is in it."""
    return {name: _some(part, ("digest", "version")) for name, part in side.parts.items()}


def _code(a: Side, b: Side) -> tuple[Drifted, ...]:
    """The files of parts that both sides use, where their digests differ, by the name of their first part."""
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(a.parts.keys() & b.parts.keys()):
        digests = (str(a.parts[name].get("digest")), str(b.parts[name].get("digest")))
        if digests[0] != digests[1]:
            files[digests].append(name)
    return tuple(_drifted(a, b, tuple(names), *digests) for digests, names in files.items())


def _drifted(a: Side, b: Side, names: tuple[str, ...], digest_a: str, digest_b: str) -> Drifted:
    before, after = (source_of(side.path, side.parts[names[0]]) for side in (a, b))
    if before is None or after is None:
        lacking = " and ".join(side for side, text in (("a", before), ("b", after)) if text is None)
        return Drifted(names, digest_a, digest_b, note=f"the source of {lacking} was not kept")
    texts = before.splitlines(), after.splitlines()
    lines = tuple(difflib.unified_diff(*texts, f"a/{names[0]}", f"b/{names[0]}", lineterm=""))
    note = "" if lines else "the same text: another Python gave its syntax tree another digest"
    return Drifted(names, digest_a, digest_b, lines, note)


def inner(tree: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The mapping at a path of `tree`, an empty one where there is none."""
    value: Any = tree
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _some(tree: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Those of `keys` that `tree` has."""
    return {key: tree[key] for key in keys if key in tree}
