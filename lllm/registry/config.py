"""The typed, strict configuration that stands beside each part, and its validation in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from lllm.errors import UserError, nearest

__all__ = [
    "Names",
    "Node",
    "PartConfig",
    "Search",
    "first_error",
    "named_nodes",
    "search_space",
    "validate",
    "with_nodes",
]


@dataclass(frozen=True)
class Names:
    """Annotation of a `Config` field whose value names another part, or of the items of a list, the values of a mapping
    or a field of an inner model that do: a name, or a mapping with `use`, for `build.part` and `build.using`.
    `teacher: Annotated[Node, Names("teacher")]`, `of: dict[str, Annotated[Node, Names("corpus")]]`.

    The registry validates it with the config that holds it, and drops what is at its default there, so that two
    spellings of one choice are one identity. An edit of the named part's file makes runs stale.
    """

    kind: str


Node = str | dict[str, Any]


class PartConfig(BaseModel):
    """Fields of a part. Strict (no coercion between types), closed (unknown keys are refused) and immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Search:
    """Annotation of a `Config` field that a sweep may turn: a range, or a list of choices.

    `Annotated[float, Search(0.25, 1.0, log=True)]`, `Annotated[str, Search(choices=("a", "b"))]`.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()


def search_space(config: type[BaseModel]) -> dict[str, Search]:
    """Field name -> `Search`, for the fields of `config` that are annotated with one."""
    return {
        name: mark for name, field in config.model_fields.items() for mark in field.metadata if isinstance(mark, Search)
    }


C = TypeVar("C", bound=BaseModel)
Visit = Callable[[str, Any, str], Any]  # kind, node, dotted place -> the node that stands there from now on


def with_nodes(config: C, where: str, visit: Visit) -> C:
    """`config` with what `visit` makes of every node in it that names a part, however deep in lists, mappings and inner
    models. where: dotted place of the config."""
    changed = {}
    for name, field in type(config).model_fields.items():
        marks = [mark.kind for mark in field.metadata if isinstance(mark, Names)]
        value = getattr(config, name)
        new = _visited(field.annotation, value, f"{where}.{name}", visit, *marks[:1])
        if new != value:
            changed[name] = new
    return config.model_copy(update=changed) if changed else config


def named_nodes(config: BaseModel) -> list[tuple[str, Any]]:
    """(kind, node) of every part that `config` names, however deep, in the order of its fields."""
    found: list[tuple[str, Any]] = []

    def keep(kind: str, node: Any, place: str) -> Any:
        found.append((kind, node))
        return node

    with_nodes(config, "", keep)
    return found


def _visited(annotation: Any, value: Any, place: str, visit: Visit, kind: str | None = None) -> Any:
    """`value`, of the type `annotation`, with its nodes visited. kind: of the parts that a mark around it says."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind = next((mark.kind for mark in inner[1:] if isinstance(mark, Names)), kind)
        return _visited(inner[0], value, place, visit, kind)
    if isinstance(value, BaseModel):
        return with_nodes(value, place, visit)
    if kind is not None and isinstance(value, str | Mapping):
        return visit(kind, value, place)
    if origin in (Union, UnionType):
        arm = next((arm for arm in inner if _fits(arm, value)), Any)
        return _visited(arm, value, place, visit, kind)
    if isinstance(value, list | tuple):
        item = inner[0] if inner else Any
        return type(value)(_visited(item, one, f"{place}.{i}", visit, kind) for i, one in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _visited(inner[1], one, f"{place}.{key}", visit, kind) for key, one in value.items()}
    return value


def _fits(annotation: Any, value: Any) -> bool:
    """Whether `value` is of one branch of a union."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _fits(inner[0], value)
    if origin in (Union, UnionType):
        return any(_fits(arm, value) for arm in inner)
    plain = origin or annotation
    return isinstance(plain, type) and isinstance(value, plain)


def validate(config: type[C], fields: Mapping[str, Any], where: str) -> C:
    """`config(**fields)`, or a UserError naming the dotted key, its value, what was expected and the nearest key."""
    try:
        return config.model_validate(dict(fields))
    except ValidationError as error:
        raise UserError(first_error(error, config, where)[1]) from None


_TAGS = ("function-after", "function-before", "str", "dict[str,any]")  # pydantic's names of branches, not keys


def first_error(error: ValidationError, config: type[BaseModel], where: str) -> tuple[str, str]:
    """The first problem of a pydantic error: its dotted path, and one sentence. where: path of the validated node."""
    problems = error.errors(include_url=False)
    typos = [p for p in problems if p["type"] == "extra_forbidden"]  # a typo explains what seems to be missing
    problem = (typos or problems)[0]
    location = [part for part in problem["loc"] if part not in _TAGS]
    key = ".".join([*([where] if where else []), *map(str, location)])
    if problem["type"] == "extra_forbidden":
        options = _keys_at(config, location[:-1])
        return key, f"{key}: unknown key '{location[-1]}'{nearest(str(location[-1]), options)}"
    if problem["type"] == "missing":
        return key, f"{key}: missing; it has no default"
    message = problem["msg"].removeprefix("Value error, ")
    for theirs, ours in _WORDING:
        message = message.replace(theirs, ours)
    return key, f"{key} = {problem['input']!r}: {message[0].lower() + message[1:]}"


_WORDING = (  # pydantic's words -> ours, in order
    ("Input should be greater than or equal to", "expected at least"),
    ("Input should be less than or equal to", "expected at most"),
    ("Input should be greater than", "expected more than"),
    ("Input should be less than", "expected less than"),
    ("Input should be", "expected"),
    ("String should match", "expected a match of the"),
    ("String should have", "expected"),
    ("List should have", "expected"),
    (" after validation", ""),
)


def _keys_at(config: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Valid keys of the model reached from `config` along `path`."""
    model: Any = config
    for part in path:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        model = getattr(field, "annotation", None)
        for inner in getattr(model, "__args__", ()):  # X | None
            if hasattr(inner, "model_fields"):
                model = inner
    return list(getattr(model, "model_fields", {}))
