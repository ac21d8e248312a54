"""Designs: an experiment that lists what may be switched on, and which combinations of it are the variants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Literal

from lllm.config.schema import Run
from lllm.config.sections import TOP, at_home, hint
from lllm.config.tree import USE, Tree, merge
from lllm.errors import UserError, nearest

__all__ = ["Design", "designed", "named_deltas"]

Kind = Literal["leave_one_out", "add_one_in", "full_factorial"]

_FEWEST: dict[Kind, int] = {"leave_one_out": 2, "add_one_in": 1, "full_factorial": 2}
_MOST = 6  # deltas of a full factorial, which has two to that power variants
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"  # variants name directories


@dataclass(frozen=True)
class Design:
    """kind: which combinations there are. factors: names of the deltas, in the stack's order. of: variant -> the deltas
    that it has, the reference first (all of them for leave_one_out, none for the others)."""

    kind: Kind
    factors: tuple[str, ...]
    of: Mapping[str, tuple[str, ...]]


def designed(tree: Tree) -> tuple[dict[str, Tree], Design] | None:
    """Variants and design of a file that has a design; None for one that lists its variants. Raises UserError where
    only one of design and stack is there, or variants beside them; for too few or too many deltas, two that set the
    same, and two variants of one name."""
    if "design" not in tree.values and "stack" not in tree.values:
        return None
    for one, other in (("design", "stack"), ("stack", "design")):
        if one not in tree.values:
            raise UserError(f"{tree.origin(other)}: {other}: given without {one}; expected both, or variants")
    if "variants" in tree.values:
        raise UserError(f"{tree.origin('variants')}: variants: given beside a design; expected a list or a design")
    kind = _kind(tree)
    stack = named_deltas(tree, "stack")
    _check(kind, stack, tree)
    factors = tuple(stack)
    of = dict(_combinations(kind, factors, tree.origin("stack")))
    return {name: merge(Tree(), *(stack[factor] for factor in on)) for name, on in of.items()}, Design(
        kind, factors, of
    )


def named_deltas(tree: Tree, key: str, usual: Mapping[str, Any] | None = None) -> dict[str, Tree]:
    """Name -> deltas of the mapping at `key`; `usual` where there is none. Raises UserError where it is no mapping, a
    name cannot name a directory, or a delta is of what is no setting of a run."""
    given: Any = tree.get(key, usual)
    if not isinstance(given, dict) or not given:
        raise UserError(f"{tree.origin(key)}: {key} = {given!r}: expected a mapping, name to deltas")
    for name, deltas in given.items():
        path = f"{key}.{name}"
        if not re.fullmatch(_NAME, name):
            what = "variant" if key == "variants" else "delta"
            raise UserError(f"{tree.origin(path)}: {what} '{name}': expected letters, digits and underscores")
        if deltas is not None and not isinstance(deltas, dict):
            raise UserError(f"{tree.origin(path)}: {path} = {deltas!r}: expected a mapping, as in {{model.ratio: 2}}")
        for inner in deltas or {}:
            if inner not in (*TOP, *Run.model_fields):
                where = f"{path}.{inner}"
                raise UserError(f"{tree.origin(where)}: {where}: unknown key '{inner}'{hint(inner)}")
    return {name: at_home(tree.below(f"{key}.{name}")) for name in given}


def _kind(tree: Tree) -> Kind:
    given = tree.get("design")
    for kind in _FEWEST:
        if given == kind:
            return kind
    close = nearest(given, _FEWEST) if isinstance(given, str) else f"; valid: {', '.join(_FEWEST)}"
    raise UserError(f"{tree.origin('design')}: design = {given!r}: no such design{close}")


def _check(kind: Kind, stack: Mapping[str, Tree], tree: Tree) -> None:
    where = f"{tree.origin('stack')}: stack"
    if len(stack) < _FEWEST[kind]:
        raise UserError(f"{where}: {len(stack)} delta; {kind} expects {_FEWEST[kind]} or more")
    if kind == "full_factorial" and len(stack) > _MOST:
        raise UserError(
            f"{where}: {len(stack)} deltas make {2 ** len(stack)} variants; full_factorial expects at most {_MOST}"
        )
    for name, delta in stack.items():
        if not delta.values:
            raise UserError(f"{tree.origin(f'stack.{name}')}: stack.{name}: changes nothing; expected a setting")
    for (one, first), (other, second) in combinations(stack.items(), 2):
        for path in _paths(second):
            taken = next((p for p in _paths(first) if _overlap(p, path)), None)
            if taken is not None:
                raise UserError(
                    f"{tree.origin(f'stack.{other}')}: stack.{other}: sets {path}, and {one} sets {taken}; expected "
                    "deltas that can be switched on in any order"
                )


def _paths(delta: Tree) -> list[str]:
    """What a delta sets. A node that names its part is set as a whole, and a budget always is."""
    return ["budget" if path.split(".")[0] == "budget" else path.removesuffix(f".{USE}") for path, _ in delta.leaves()]


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _combinations(kind: Kind, factors: Sequence[str], origin: str) -> list[tuple[str, tuple[str, ...]]]:
    """Variants and the factors that each has, the reference first."""
    if kind == "leave_one_out":
        left = [(f"without_{name}", tuple(other for other in factors if other != name)) for name in factors]
        found = [("full", tuple(factors)), *left]
    elif kind == "add_one_in":
        found = [("none", ()), *((f"with_{name}", (name,)) for name in factors)]
    else:
        switched = [
            tuple(name for name, on in zip(factors, reversed(row), strict=True) if on)
            for row in product((False, True), repeat=len(factors))
        ]
        found = [("_".join(on) or "none", on) for on in switched]
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{origin}: stack: two variants would be named '{name}'; expected other names of deltas")
        if not re.fullmatch(_NAME, name):
            raise UserError(f"{origin}: stack: variant '{name}' has a name of over 64 letters; expected shorter names")
    return found
