"""A part as `lllm show` and `lllm list` tell of it."""

from __future__ import annotations

from importlib.util import find_spec
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from lllm.cli.output import print_table

if TYPE_CHECKING:
    from lllm.registry import Entry

__all__ = ["describe", "kernel", "runs_here", "show_part"]


def describe(entry: Entry) -> dict[str, Any]:
    """Everything about a part, as JSON has it."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.version,
        "summary": entry.summary,
        "refs": list(entry.refs),
        "path": str(entry.path),
        "digest": entry.digest,
        "source": entry.source,
        "kernel": kernel(entry) or None,
        "runs_here": runs_here(entry),
        "options": entry.cls.Config.model_json_schema().get("properties", {}),
    }


def kernel(entry: Entry) -> str:
    """On which kernel a part says that it computes, '' for plain tensor operations."""
    return str(getattr(entry.cls, "kernel", None) or "")


def runs_here(entry: Entry) -> str:
    """'yes', or 'needs NAME' of the first module of the class attribute `requires` that cannot be imported here."""
    for name in getattr(entry.cls, "requires", ()):
        if not _importable(name):
            return f"needs {name}"
    return "yes"


def _importable(name: str) -> bool:
    """Whether there is such a module; looking for it imports no more than the packages that hold it."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # a package that holds it is missing, or has no spec
        return False


def show_part(entry: Entry) -> None:
    """Print a part: what it is, its options, their defaults, what a sweep may turn, its sources."""
    import inspect

    from lllm.registry import search_space

    print(f"{entry.kind}/{entry.name} (version {entry.version}), from {entry.source}: {entry.path}")
    print(inspect.cleandoc(entry.cls.__doc__ or ""))
    if entry.refs:
        print(f"\nSources: {', '.join(entry.refs)}")
    turned = search_space(entry.cls.Config)
    rows = [
        [
            name,
            _type_name(field.annotation),
            "required" if field.is_required() else repr(field.default),
            _range(turned.get(name)),
        ]
        for name, field in entry.cls.Config.model_fields.items()
    ]
    if rows:
        print()
        print_table(["option", "type", "default", "a sweep may turn"], rows)
    notes = inspect.cleandoc(entry.cls.Config.__doc__ or "")
    if rows and notes:
        print(f"\n{notes}")


def _type_name(annotation: Any) -> str:
    """A readable name of a field's type: 'int or None', without the constraints that annotate it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(inner[0])
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (Union, UnionType):
        return " or ".join(map(_type_name, inner))
    if annotation is NoneType:
        return "None"
    if inner and isinstance(origin, type):
        return f"{origin.__name__} of {', '.join(map(_type_name, inner))}"
    return getattr(annotation, "__name__", str(annotation))


def _range(search: Any) -> str:
    if search is None:
        return ""
    if search.choices:
        return ", ".join(map(str, search.choices))
    return f"{search.low} to {search.high}" + (" (log)" if search.log else "")
