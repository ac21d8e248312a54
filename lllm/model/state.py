"""Carried states: typed, immutable, and closed under row selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from torch import Tensor

__all__ = ["State", "map_tensors"]


def map_tensors(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply `function` to every tensor inside states, tuples, lists and dicts; anything else is returned as it is."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, State):
        return replace(value, **{f.name: map_tensors(getattr(value, f.name), function) for f in fields(value)})
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(item, function) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(item, function) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class State:
    """What a part carries between calls. Tensors lead with the batch dimension and are never updated in place, so
    that one state may be continued twice."""

    def select(self, rows: Tensor) -> Self:
        """The states of `rows` [M] (indices), repetitions allowed."""
        selected: Self = map_tensors(self, lambda tensor: tensor.index_select(0, rows))
        return selected

    def tensors(self) -> list[Tensor]:
        """Every tensor, in the order of the fields."""
        found: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            found.append(tensor)
            return tensor

        map_tensors(self, keep)
        return found
