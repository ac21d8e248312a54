"""The simplest parts of each kind: what a check composes around a part, and a probe puts in its place."""

from __future__ import annotations

from typing import Any

from lllm.errors import UserError
from lllm.model.contracts import ModelPart
from lllm.registry import Entry, PartSpec, Registry

__all__ = ["example", "simplest"]


def simplest(registry: Registry, *, model: bool = True) -> dict[str, list[PartSpec]]:
    """For each kind of part of the model (or, not `model`, of all others) its parts, as their first example, simplest
    first: shipped ones, then by number of options and by name. A part whose example is refused is left out; its own
    check says so."""
    found: dict[str, list[PartSpec]] = {}
    for entry in registry.of(registry.kinds()):
        if issubclass(entry.cls, ModelPart) is model and (entry.kind, entry.name) not in registry.conflicts:
            try:
                found.setdefault(entry.kind, []).append(example(registry, entry))
            except UserError:
                continue
    for specs in found.values():
        specs.sort(key=_complexity)
    return found


def example(registry: Registry, entry: Entry, index: int = 0, **changes: Any) -> PartSpec:
    """A part under one of the configurations that it offers."""
    node = {"use": entry.name, **entry.cls.examples()[index], **changes}
    return registry.config(entry.kind, node, f"{entry.kind}/{entry.name}")


def _complexity(spec: PartSpec) -> tuple[bool, int, int, str]:
    fields = type(spec.config).model_fields.values()
    return spec.entry.source != "shipped", sum(field.is_required() for field in fields), len(fields), spec.name
