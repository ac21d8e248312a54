"""Compositions of toy parts."""

from __future__ import annotations

from typing import Any

from lllm.model import Composition
from lllm.registry import Part, Registry
from tests.helpers import composition

SIMPLEST: dict[str, Any] = {
    "head": "parallel",
    "trunk": {"use": "uniform", "depth": 2},
    "mixer": "attention",
    "downsampler": "concat",
}


def toys(*modules: Any) -> list[type[Part]]:
    """Registered classes of modules."""
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Part) and "__part__" in vars(value)
    ]


def toy(registry: Registry, ratio: int = 4, **nodes: Any) -> Composition:
    """A composition in which everything is simple but `nodes`."""
    return composition(registry, ratio=ratio, **{**SIMPLEST, **nodes})
