"""From a layer of settings to validated sections and parts, with errors that say where each value came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lllm.config.schema import Budget, Data, Eval, Model, Run, Section, Train
from lllm.config.tree import USE, Tree
from lllm.errors import UserError, nearest
from lllm.registry import PartSpec, Registry
from lllm.registry.config import first_error
from lllm.registry.part import HOMES

__all__ = [
    "EXECUTION",
    "SECTIONS",
    "TOP",
    "at_home",
    "checked",
    "hint",
    "parse",
    "part_of",
    "section_of",
]

EXECUTION = "run"  # the section whose fields never enter an identity
SECTIONS: dict[str, type[Section]] = {
    "data": Data,
    "model": Model,
    "train": Train,
    "eval": Eval,
    "budget": Budget,
    EXECUTION: Run,
}
TOP = [*(kind for kind, section in HOMES.items() if not section), *SECTIONS]

C = TypeVar("C", bound=BaseModel)


def at_home(tree: Tree) -> Tree:
    """The layer with execution settings that stand alone (`wandb: offline`) moved to their section."""

    def home(path: str) -> str:
        return f"{EXECUTION}.{path}" if path.split(".")[0] in Run.model_fields else path

    moved = Tree()
    for path, value in tree.leaves():
        moved.put(home(path), value, tree.origin(path))
    for path, origin in tree.origins.items():
        moved.origins.setdefault(home(path), origin)
    return moved


def hint(name: str, others: Collection[str] = ()) -> str:
    """For an unknown top-level key: the section that has it, or the nearest name; `others` are valid there, too."""
    owners = [f"{section}.{name}" for section, schema in SECTIONS.items() if name in schema.model_fields]
    return f"; did you mean '{owners[0]}'?" if owners else nearest(name, [*TOP, *Run.model_fields, *others])


def parse(tree: Tree, registry: Registry, required: Collection[str]) -> tuple[dict[str, Any], dict[str, PartSpec]]:
    """The validated sections of a complete layer by name, and the chosen parts by place ('model.head'). Kinds are open:
    their contracts say where a part may be named. required: places that must name one; at others there may be none.
    Errors as in `resolve`."""
    for name in tree.values:
        if name not in TOP:
            raise UserError(f"{tree.origin(name)}: unknown key '{name}'{hint(name)}")
    kinds = [*registry.sections(), *sorted(place.rpartition(".")[2] for place in required)]
    where = {registry.place(kind): kind for kind in kinds}
    sections = {name: section_of(name, tree, [p for p in where if p.startswith(f"{name}.")]) for name in SECTIONS}
    found = {place: part_of(place, kind, tree, registry, place in required) for place, kind in where.items()}
    return sections, {place: spec for place, spec in found.items() if spec is not None}


def section_of(name: str, tree: Tree, nodes: Collection[str] = ()) -> Section:
    """The section `name`; `nodes` are the places of parts that stand among its fields."""
    values = tree.get(name, {})
    if not isinstance(values, dict):
        raise UserError(f"{tree.origin(name)}: {name} = {values!r}: expected a mapping of settings")
    parts = {place.removeprefix(f"{name}.") for place in nodes}
    options = [*SECTIONS[name].model_fields, *parts]
    for key in values:
        if key not in options:
            path = f"{name}.{key}"
            raise UserError(f"{tree.origin(path)}: {path}: unknown key '{key}'{nearest(key, options)}")
    fields = {key: value for key, value in values.items() if key not in parts}
    return checked(SECTIONS[name], fields, name, tree)


def part_of(place: str, kind: str, tree: Tree, registry: Registry, required: bool) -> PartSpec | None:
    node, origin = tree.get(place), tree.origin(place)
    if node is None and not required:
        return None
    fields = {USE: node} if isinstance(node, str) else node
    if not isinstance(fields, dict):
        raise UserError(
            f"{origin}: {place} = {node!r}: expected the {kind}'s name, or a mapping with 'use'"
            f"{nearest(str(node), registry.names(kind))}"
        )
    name = fields.get(USE)
    if not isinstance(name, str):
        given = tree.origin(f"{place}.{next(iter(fields), USE)}")
        raise UserError(
            f"{given}: {place}: expected 'use: NAME', the {kind}'s name{nearest(str(name), registry.names(kind))}"
        )
    entry = registry.get(kind, name, f"{tree.origin(f'{place}.{USE}')}: {place}")
    fields = {key: value for key, value in fields.items() if key != USE}
    options = entry.cls.Config.model_fields
    for key in fields:
        if key not in options:  # perhaps another part of the kind has it, and was not named
            known = nearest(key, options)
            owners = [other.name for other in registry.of([kind]) if key in other.cls.Config.model_fields]
            if owners and "did you mean" not in known:
                known += f"; {kind} '{owners[0]}' has it"
            path = f"{place}.{key}"
            raise UserError(f"{tree.origin(path)}: {path}: unknown key '{key}' of {kind} '{entry.name}'{known}")
    config = checked(entry.cls.Config, fields, place, tree)
    try:
        return registry.spec(entry, config, place)
    except UserError as error:  # of a part that this one names
        raise UserError(f"{tree.origin(place)}: {error}") from None


def checked(config: type[C], fields: Mapping[str, Any], where: str, tree: Tree) -> C:
    """`config(**fields)`; its first problem as one sentence that begins with the place in `tree`."""
    try:
        return config.model_validate(dict(fields))
    except ValidationError as error:
        path, message = first_error(error, config, where)
        raise UserError(f"{tree.origin(path)}: {message}") from None
