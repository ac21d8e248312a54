"""Parts that both sides use and whose source is not the same, line by line."""

from __future__ import annotations

import difflib
from collections import defaultdict
from dataclasses import dataclass

from lllm.results.diff.side import Side
from lllm.results.sources import source_of

__all__ = ["Drifted", "drifted"]


@dataclass(frozen=True)
class Drifted:
    """parts: 'kind/name' of those in one file; a, b: its digests; lines: a unified diff of the source; note: why there
    is none."""

    parts: tuple[str, ...]
    a: str
    b: str
    lines: tuple[str, ...] = ()
    note: str = ""


def drifted(a: Side, b: Side) -> tuple[Drifted, ...]:
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
