"""Rows under one name: what the command line changed of all of them, and what sets one apart from the baseline's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lllm.errors import UserError
from lllm.results.grouping import assignments, few
from lllm.results.records import differences, flatten

__all__ = ["Label", "Made", "label", "shared", "without_repeats"]


@dataclass(frozen=True)
class Made:
    """How an arm was made: its resolved config, and the words of the command line that changed it."""

    config: Mapping[str, Any]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """note: what a row says beside its variant; unlike: why its numbers may not be set against the baseline's."""

    note: str = ""
    unlike: str = ""


def shared(every: Sequence[Made]) -> tuple[str, ...]:
    """The words of the first that all have: as typed, or as another word that sets the same place to the same."""
    return tuple(word for word in every[0].words if all(_has(other, word, every[0]) for other in every[1:]))


def without_repeats(words: Sequence[str]) -> tuple[str, ...]:
    """The words of several runs of one arm: of those for one place the first, for all of them did the same."""
    first: dict[tuple[str, ...], str] = {}
    for word in words:
        first.setdefault(_paths(word), word)
    return tuple(first.values())


def label(made: Made, baseline: Made | None, newest: Made, common: Sequence[str], arm: str) -> Label:
    """What sets an arm apart from the baseline's row, and from the newest arm of its own variant.

    A place that only some rows' command lines set is compared with the baseline's. Within a variant, what differs at
    any other place is a file that was edited since.
    """
    own = _own(made, common)
    found = []
    if baseline:
        found = _below(baseline.config, made.config, [*_all(own), *_all(_own(baseline, common))])
    if made is not newest:
        typed = [*_all(own), *_all(_own(newest, common))]
        edited = [e for e in differences(newest.config, made.config) if not _under(str(e["path"]), typed)]
        found += [entry for entry in edited if entry["path"] not in [old["path"] for old in found]]
        if not edited and not typed:
            return Label(f"arm {arm}", "another arm")
    if told := assignments(found):
        names = [word.removeprefix("no ").partition("=")[0] for word in told]
        return Label(f"differs: {few(told)}", f"other {few(names)}")
    return Label(f"changed: {shlex.join(own)}" if own else "")


def _own(made: Made, common: Sequence[str]) -> tuple[str, ...]:
    """Its words for places that the words of all rows do not set."""
    everywhere = {_paths(word) for word in common}
    return tuple(word for word in made.words if _paths(word) not in everywhere)


def _has(other: Made, word: str, first: Made) -> bool:
    same = next((w for w in other.words if _paths(w) == _paths(word)), None)
    return same == word or (same is not None and not _below(first.config, other.config, _paths(word)))


def _below(a: Mapping[str, Any], b: Mapping[str, Any], places: Sequence[str]) -> list[Mapping[str, Any]]:
    """How two configs differ at places; where one of them lacks a place, at what holds it."""
    flat = (flatten(a), flatten(b))
    held = []
    for place in places:
        while place and not all(any(_under(path, [place]) for path in tree) for tree in flat):
            place = place.rpartition(".")[0]
        held.append(place)
    return [entry for entry in differences(a, b) if _under(str(entry["path"]), held)]


def _under(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(f"{place}.") for place in places if place)


def _all(words: Sequence[str]) -> list[str]:
    return [path for word in words for path in _paths(word)]


def _paths(word: str) -> tuple[str, ...]:
    """The places that KEY=VALUE sets: a mapping without `use` sets what is in it, and leaves the rest as it was."""
    from lllm.config import overrides_of

    try:
        values = overrides_of([word]).values
    except UserError:  # recorded by a version that knew the key
        return (word.partition("=")[0].strip(),)
    return tuple(_places(values, ""))


def _places(node: Mapping[str, Any], path: str) -> list[str]:
    found = []
    for name, value in node.items():
        here = f"{path}{name}"
        if isinstance(value, Mapping) and value and "use" not in value:
            found += _places(value, f"{here}.")
        else:
            found.append(here)
    return found
