"""Parts and experiments as `lllm show` and `lllm list` tell of them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lllm.cli.output import print_json, print_table
from lllm.config import Experiment, Tree
from lllm.registry import Entry, search_space

__all__ = ["changes", "deltas", "describe", "kernel", "runs_here", "show_experiment", "show_part", "written"]


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
        found = None
        with suppress(ImportError, ValueError):  # a package that holds it is missing, or has no spec
            found = find_spec(name)  # which imports no more than the packages that hold it
        if found is None:
            return f"needs {name}"
    return "yes"


def show_part(entry: Entry) -> None:
    """Print a part: what it is, its options, their defaults, what a sweep may turn, its sources."""
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


def deltas(tree: Tree) -> dict[str, Any]:
    """What a layer sets: dotted path -> value, a part's name under the part's own path."""
    return {path.removesuffix(".use"): value for path, value in tree.leaves()}


def written(value: Any) -> str:
    """A setting as it would be typed."""
    return str(value) if value is not None and not isinstance(value, bool) else json.dumps(value)


def changes(deltas: Mapping[str, Any]) -> str:
    """What a variant sets, in a line."""
    return ", ".join(f"{path}={written(value)}" for path, value in deltas.items())


def show_experiment(experiment: Experiment, as_json: bool) -> None:
    """Print the question: hypothesis, variants with what they change, budget, seeds, what is matched, the rule."""
    design = experiment.design
    facts = {
        "file": str(experiment.path),
        "base": experiment.base,
        "baseline": experiment.baseline,
        "budget": experiment.composition.get("budget"),
        "seeds": {"unpaired": list(experiment.seeds)} if experiment.unpaired else list(experiment.seeds),
        "match": experiment.match.model_dump(exclude_none=True) if experiment.match else None,
        "design": {design.kind: ", ".join(design.factors)} if design else None,
        "decide": experiment.decide.model_dump(exclude_defaults=True) or experiment.decide.metric,
    }
    variants = {name: deltas(tree) for name, tree in experiment.variants.items()}
    if as_json:
        print_json({"experiment": experiment.name, "hypothesis": experiment.hypothesis, **facts, "variants": variants})
        return
    print(f"{experiment.name}: {experiment.hypothesis}\n")
    print_table(["setting", "value"], [[name, _fact(value)] for name, value in facts.items() if value is not None])
    print()
    print_table(["variant", "what it changes"], [[name, changes(found)] for name, found in variants.items()])


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {written(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
