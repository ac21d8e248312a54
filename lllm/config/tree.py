"""Layers of settings: nested values, where each came from, and how one layer lies over another."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lllm.errors import UserError

__all__ = ["USE", "Tree", "merge"]

USE = "use"
_UNKNOWN = "defaults"
_ONE_OF = ("budget",)  # settings that exclude each other: a layer that sets one forgets those below


@dataclass
class Tree:
    """Nested settings. origins: dotted path -> 'FILE:LINE', 'command line' or the like, for messages."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, value: Any, origin: str) -> None:
        """Set `value` at a dotted path of this layer; a mapping's keys may be dotted, too.

        `head: NAME` and `head: {use: NAME}` are one thing, so `head: NAME` and `head.depth: 4` stand side by side; so
        do `head: [NAME, NAME]` and `head.depth: [1, 2]` of what is searched. Raises UserError
        where the path is set already, or is no path."""
        if isinstance(value, Mapping) and value:
            self.origins.setdefault(path, origin)
            for key, inner in value.items():
                self.put(f"{path}.{key}", inner, origin)
            return
        *parents, last = names = path.split(".")
        if not all(name and name == name.strip() for name in names):
            raise UserError(f"{origin}: key '{path}': expected names joined by single dots, as in model.head.depth")
        node = self.values
        for depth, name in enumerate(parents):
            inner = node.setdefault(name, {})
            if isinstance(inner, str | list):
                inner = node[name] = {USE: inner}
            if not isinstance(inner, dict):
                known = ".".join(parents[: depth + 1])
                raise UserError(f"{origin}: {path}: '{known}' is set to {inner!r} already ({self.origin(known)})")
            node = inner
        self.origins.setdefault(path, origin)
        below = node.get(last)
        if isinstance(below, dict) and isinstance(value, str | list) and USE not in below:
            below[USE] = value
        elif isinstance(below, dict) and value == {}:
            return
        elif last in node:
            raise UserError(f"{origin}: {path}: given twice; expected each key once (also {self.origins[path]})")
        else:
            node[last] = copy.deepcopy(value)

    def origin(self, path: str) -> str:
        """Where the setting at `path`, or the nearest one that holds it, came from."""
        while path and path not in self.origins:
            path = path.rpartition(".")[0]
        return self.origins.get(path, _UNKNOWN)

    def get(self, path: str, default: Any = None) -> Any:
        node: Any = self.values
        for name in path.split("."):
            if not isinstance(node, dict) or name not in node:
                return default
            node = node[name]
        return node

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Path and value of every setting that is not itself a mapping of others."""
        yield from _leaves(self.values, "")

    def pick(self, names: list[str]) -> Tree:
        """The layer of these top-level settings only."""
        values = {name: copy.deepcopy(self.values[name]) for name in names if name in self.values}
        return Tree(values, {p: o for p, o in self.origins.items() if p.split(".")[0] in values})

    def below(self, path: str) -> Tree:
        """The layer found under `path`, with paths relative to it."""
        values, prefix = self.get(path), f"{path}."
        inner = {p.removeprefix(prefix): o for p, o in self.origins.items() if p.startswith(prefix)}
        return Tree(copy.deepcopy(values) if isinstance(values, dict) else {}, inner)


def merge(below: Tree, *layers: Tree) -> Tree:
    """One layer over another. A name, or a mapping with `use`, replaces a node; a mapping without it merges."""
    merged = Tree(copy.deepcopy(below.values), dict(below.origins))
    for layer in layers:
        for name, value in layer.values.items():
            _lay(merged, merged.values, name, value, name, layer)
    return merged


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _lay(merged: Tree, node: dict[str, Any], name: str, value: Any, path: str, layer: Tree) -> None:
    below = node.get(name)
    if isinstance(value, dict) and USE not in value and path not in _ONE_OF:
        if isinstance(below, str):
            below = node[name] = {USE: below}
        if isinstance(below, dict):
            for key, inner in value.items():
                _lay(merged, below, key, inner, f"{path}.{key}", layer)
            return
    prefix = f"{path}."
    for old in [p for p in merged.origins if p == path or p.startswith(prefix)]:
        del merged.origins[old]
    merged.origins |= {p: o for p, o in layer.origins.items() if p == path or p.startswith(prefix)}
    node[name] = copy.deepcopy(value)
