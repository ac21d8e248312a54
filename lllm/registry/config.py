"""The typed, strict configuration that stands beside each part, and its validation in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from lllm.errors import UserError, nearest

__all__ = ["Node", "PartConfig", "Search", "first_error", "search_space", "validate"]


def _canonical(node: Any) -> Any:
    return node["use"] if isinstance(node, Mapping) and set(node) == {"use"} else node


Node = Annotated[str | dict[str, Any], AfterValidator(_canonical)]
"""The type of a field that names another part, for `build.part` and `build.using`: a name, or a mapping with `use`.
`{use: NAME}` alone becomes NAME, so that two spellings are one identity."""


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


def validate(config: type[C], fields: Mapping[str, Any], where: str) -> C:
    """`config(**fields)`, or a UserError naming the dotted key, its value, what was expected and the nearest key."""
    try:
        return config.model_validate(dict(fields))
    except ValidationError as error:
        raise UserError(first_error(error, config, where)) from None


def first_error(error: ValidationError, config: type[BaseModel], where: str) -> str:
    """The first problem of a pydantic error as one sentence; `where` is the dotted path of the validated node."""
    problem = error.errors(include_url=False)[0]
    location = [part for part in problem["loc"] if part not in ("function-after", "function-before")]
    key = ".".join([where, *map(str, location)]) if where else ".".join(map(str, location))
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
