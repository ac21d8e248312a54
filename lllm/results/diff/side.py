"""One of two things that are compared: a run, or a variant as an experiment's file defines it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lllm.results.run import Run

__all__ = ["Side", "inner", "some"]


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


def inner(tree: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The mapping at a path of `tree`, an empty one where there is none."""
    value: Any = tree
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def some(tree: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Those of `keys` that `tree` has."""
    return {key: tree[key] for key in keys if key in tree}
