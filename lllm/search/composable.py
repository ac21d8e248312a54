"""The dimensions of a search over compositions: parts by name, what each brings, and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from lllm.config import Resolved
from lllm.config.search import AUTO, GRID, LR, Choices, Declared, Searched
from lllm.errors import UserError, nearest
from lllm.registry import Entry, PartSpec, Registry
from lllm.search import grid
from lllm.search.space import Dimension, choice, dimension_of, field_at, fields_of, mark_of, place_kinds

__all__ = ["alternatives", "choosable", "composables"]

_RATIO, _OPTIMIZER = "model.ratio", "train.optimizer"
_REACH = 2  # powers of two that a searched learning rate goes from an optimizer's own
_LARGEST = 8


def composables(block: Searched, resolved: Resolved) -> tuple[Dimension, ...]:
    """The dimensions of the block, or, where it has none, every kind of the model with at least two parts that can be
    had here, and the ratio. Those of parts come first; a part brings its annotated fields.

    Raises:
        UserError: a part or a field that there is not, or a value that the field does not take.
    """
    registry = resolved.registry
    kinds = place_kinds(registry)
    declared = dict(block.dimensions) or _usual(registry, kinds)
    chosen = alternatives(declared, registry, block)
    for place, nodes in chosen.items():
        if len(nodes) < 2:
            only = f"there is only one {kinds[place]} that can be had here"
            raise UserError(f"{block.origin(place)}: search.{place} = auto: {only}")
    parts = {place: [entry for _, entry in nodes] for place, nodes in chosen.items()}
    found = [choice(place, [node for node, _ in nodes]) for place, nodes in chosen.items()]
    for place, entries in parts.items():
        for entry in entries:
            marked = [name for name, one in entry.cls.Config.model_fields.items() if mark_of(one)]
            paths = [f"{place}.{name}" for name in marked]
            found += [_brought(path, AUTO, place, entry, block) for path in paths if path not in declared]
    for path, what in declared.items():
        if path not in kinds:
            found += _fields(path, what, parts, resolved, block)
    return _named_apart(found)


def alternatives(
    declared: Mapping[str, Declared], registry: Registry, block: Searched
) -> dict[str, list[tuple[Any, Entry]]]:
    """Place -> what is to be chosen from there, each with the part that it names. Raises UserError where there is no
    such part, or it takes no such fields."""
    kinds, found = place_kinds(registry), dict[str, list[tuple[Any, Entry]]]()
    for place in [path for path in declared if path in kinds]:
        nodes = _nodes(place, kinds[place], declared[place], registry, block.origin(place))
        found[place] = [(node, registry.config(kinds[place], node, place).entry) for node in nodes]
    return found


def choosable(
    dimensions: Sequence[Dimension], resolved: Resolved, stands: Callable[[str, Any], Any]
) -> tuple[dict[str, dict[str, Any]], list[Entry]]:
    """What the dimensions choose from: place -> label -> the part as it stands where it is chosen, and every part of
    which that is made, with those that a field names. stands(place, node): what becomes of a node there.
    Raises UserError where a chosen part cannot stand as the composition has it."""
    registry, kinds = resolved.registry, place_kinds(resolved.registry)
    found: dict[str, dict[str, Any]] = {}
    owners: dict[tuple[str, str], PartSpec] = {(place, ""): spec for place, spec in resolved.nodes().items()}
    specs: list[PartSpec] = []
    for one in dimensions:  # those of parts come first
        place, _, name = one.path.rpartition(".")
        for label in getattr(one.distribution, "choices", ()):
            if one.path in kinds:
                spec = registry.config(kinds[one.path], stands(one.path, one.value(label)), one.path)
                owners[one.path, spec.name] = spec
                found.setdefault(one.path, {})[label] = spec.delta()
            elif owner := owners.get(one.when or (place, "")):
                spec = replace(owner, config=owner.config.model_copy(update={name: one.value(label)}))
            else:
                continue
            specs.append(spec)
    return found, [named.entry for spec in specs for named in registry.named(spec)]


def _usual(registry: Registry, kinds: Mapping[str, str]) -> dict[str, Declared]:
    several = [place for place, kind in kinds.items() if place.startswith("model.") and len(_here(registry, kind)) > 1]
    return dict.fromkeys([*several, _RATIO], AUTO)


def _here(registry: Registry, kind: str) -> list[str]:
    """Names of the parts of a kind that can run here and need no option to be given."""
    entries = [registry.entries[kind, name] for name in registry.names(kind) if (kind, name) not in registry.conflicts]
    return [
        entry.name
        for entry in entries
        if not any(one.is_required() for one in entry.cls.Config.model_fields.values())
        and all(map(_importable, getattr(entry.cls, "requires", ())))
    ]


def _importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # a package that holds it is missing, or has no spec
        return False


def _nodes(place: str, kind: str, declared: Declared, registry: Registry, origin: str) -> Sequence[Any]:
    """The parts to choose from at a place: names, or mappings with `use`."""
    if declared == AUTO:
        return _here(registry, kind)
    if not isinstance(declared, Choices):
        raise UserError(f"{origin}: search.{place}: expected a list of {kind}s{nearest('', registry.names(kind))}")
    for node in declared.values:
        registry.config(kind, node, f"{origin}: search.{place}")
    return declared.values


def _brought(path: str, what: Declared, place: str, entry: Entry, block: Searched) -> Dimension:
    """A field that is there when its part is chosen."""
    one = entry.cls.Config.model_fields[path.removeprefix(f"{place}.")]
    return dimension_of(path, what, one, block.origin(path), (place, entry.name))


def _fields(
    path: str, what: Declared, parts: Mapping[str, Sequence[Entry]], resolved: Resolved, block: Searched
) -> list[Dimension]:
    """The dimensions of a declared field: one, or one for each part that has it."""
    if path == LR and what in (AUTO, GRID):
        return _rates(parts.get(_OPTIMIZER, ()), resolved)
    if path == _RATIO and what == AUTO:
        multiple = resolved.data.multiple
        return [choice(path, [ratio for ratio in range(1, _LARGEST + 1) if multiple % ratio == 0])]
    place, _, name = path.rpartition(".")
    if place in parts:
        having = [entry for entry in parts[place] if name in entry.cls.Config.model_fields]
        if having:
            return [_brought(path, what, place, entry, block) for entry in having]
    placed = {where: spec.entry for where, spec in resolved.nodes().items() if where not in parts}
    one = field_at(path, placed)
    if one is None:
        near = nearest(path, {*(known for known, _ in fields_of(placed)), *place_kinds(resolved.registry)})
        raise UserError(f"{block.origin(path)}: search.{path}: there is no such field{near}")
    return [dimension_of(path, what, one, block.origin(path))]


def _rates(optimizers: Sequence[Entry], resolved: Resolved) -> list[Dimension]:
    if not optimizers:
        return [Dimension(LR, grid.distribution(resolved.lr, _REACH))]
    return [
        Dimension(LR, grid.distribution(float(vars(entry.cls)["default_lr"]), _REACH), when=(_OPTIMIZER, entry.name))
        for entry in optimizers
    ]


def _named_apart(found: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """One parameter of Optuna has one distribution: a field that several parts have with different ones is called
    after its part as well."""
    among: dict[str, set[str]] = {}
    for one in found:
        among.setdefault(one.path, set()).add(repr(one.distribution))
    return tuple(
        replace(one, name=f"{one.path}@{one.when[1]}") if one.when and len(among[one.path]) > 1 else one
        for one in found
    )
