"""The typed, strict configuration that stands beside each part, and its validation in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from lllm.errors import UserError, nearest

__all__ = [
    "Names",
    "Node",
    "PartConfig",
    "Search",
    "first_error",
    "first_place",
    "nested_kinds",
    "search_space",
    "validate",
]


@dataclass(frozen=True)
class Names:
    """Annotation of a `Config` field whose value names another part, or of the items of a list that do: a name, or a
    mapping with `use`, for `build.part` and `build.using`. `mixer: Annotated[Node, Names("mixer")] = "attention"`.

    The registry validates it with the config that holds it, and drops what is at its default there, so that two
    spellings of one choice are one identity.
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


def nested_kinds(config: type[BaseModel]) -> dict[str, str]:
    """Field name -> kind, for the fields of `config` that name other parts."""
    found: dict[str, str] = {}
    for name, field in config.model_fields.items():
        inner = [mark for item in get_args(field.annotation) for mark in getattr(item, "__metadata__", ())]
        for mark in [*field.metadata, *inner]:
            if isinstance(mark, Names):
                found[name] = mark.kind
    return found


C = TypeVar("C", bound=BaseModel)


def validate(config: type[C], fields: Mapping[str, Any], where: str) -> C:
    """`config(**fields)`, or a UserError naming the dotted key, its value, what was expected and the nearest key."""
    try:
        return config.model_validate(dict(fields))
    except ValidationError as error:
        raise UserError(first_error(error, config, where)) from None


def first_place(error: ValidationError, where: str) -> str:
    """The dotted path of the problem that `first_error` tells of."""
    return ".".join([*([where] if where else []), *map(str, _first(error)[1])])


def _first(error: ValidationError) -> tuple[Any, list[str | int]]:
    """The problem to tell of, and its place within the model."""
    problems = error.errors(include_url=False)
    typos = [p for p in problems if p["type"] == "extra_forbidden"]  # a typo explains what seems to be missing
    problem = (typos or problems)[0]
    return problem, [part for part in problem["loc"] if part not in _TAGS]


_TAGS = ("function-after", "function-before", "str", "dict[str,any]")  # pydantic's names of branches, not keys


def first_error(error: ValidationError, config: type[BaseModel], where: str) -> str:
    """The first problem of a pydantic error as one sentence; `where` is the dotted path of the validated node."""
    problem, location = _first(error)
    key = first_place(error, where)
    if problem["type"] == "extra_forbidden":
        options = _keys_at(config, location[:-1])
        return f"{key}: unknown key '{location[-1]}'{nearest(str(location[-1]), options)}"
    if problem["type"] == "missing":
        return f"{key}: missing; it has no default"
    value = problem["input"]
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key} = {value!r}: {message[0].lower() + message[1:]}"


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
