"""`lllm list` and `lllm show`: what there is."""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from lllm.cli.output import print_json, print_table
from lllm.errors import UserError, nearest

if TYPE_CHECKING:
    from lllm.registry import Entry

__all__ = ["list_", "show"]

Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="Load a Python file with parts, too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_(
    what: Annotated[str, typer.Argument(help="parts")] = "parts", plugin: Plugins = None, as_json: Json = False
) -> None:
    """List parts, and where each comes from."""
    listings = {"parts": _parts}
    if what not in listings:
        raise UserError(f"list: unknown listing '{what}'{nearest(what, listings)}")
    listings[what](plugin or [], as_json)


def show(
    name: Annotated[str, typer.Argument(help="A part, as 'attention' or 'mixer/attention'.")],
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Show a part: its options, defaults, what a sweep may turn, and its sources."""
    from lllm.registry import load_registry

    registry = load_registry(plugin or [])
    found = registry.find(name)
    if not found:
        raise UserError(f"show: unknown part '{name}'{nearest(name, [e.name for e in registry.entries.values()])}")
    if as_json:
        print_json([_describe(entry) for entry in found])
        return
    for entry in found:
        _show_part(entry)


def _parts(plugins: list[Path], as_json: bool) -> None:
    from lllm.registry import load_registry

    registry = load_registry(plugins)
    entries = registry.of(registry.kinds())
    if as_json:
        print_json([_describe(entry) for entry in entries])
        return
    print_table(["kind", "name", "what it is", "from"], [[e.kind, e.name, e.summary, e.source] for e in entries])
    for shipped, local in registry.replaced.items():
        print(f"replaced: {shipped} by {local}")
    for path, reason in registry.failures.items():
        print(f"failed: {path}: {reason}")


def _describe(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "version": entry.version,
        "summary": entry.summary,
        "refs": list(entry.refs),
        "path": str(entry.path),
        "digest": entry.digest,
        "source": entry.source,
        "options": entry.cls.Config.model_json_schema().get("properties", {}),
    }


def _show_part(entry: Entry) -> None:
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
