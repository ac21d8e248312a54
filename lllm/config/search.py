"""The `search:` block of an experiment's file: what a sweep may turn, and what it looks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lllm.config.schema import Section
from lllm.config.sections import SECTIONS, TOP, checked
from lllm.config.tree import USE, Tree
from lllm.errors import UserError, nearest

__all__ = ["AUTO", "BLOCK", "GRID", "LR", "Choices", "Declared", "Range", "Searched", "searched"]

BLOCK = "search"  # its key in the file
LR = "train.lr"
AUTO: Literal["auto"] = "auto"  # a field's own annotation; at a part's place: every part that there is
GRID: Literal["grid"] = "grid"  # of train.lr: powers of two around its default
_SPACE, _OBJECTIVES = "space", "objectives"
_OPEN = ("model", "train")  # what may differ between trials whose numbers are to be comparable
_MOST_STEPS = 1_000_000_000  # that are told apart: more are a range without steps
_EXPECTED = "expected a list of values, {low: ..., high: ...} or auto"


class Range(Section):
    """Numbers from low to high, both included. step: between them; log: uniform in the logarithm."""

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Range:
        if self.low >= self.high:
            raise ValueError("expected low below high")
        if self.log and self.low <= 0:
            raise ValueError("expected low above 0 on a logarithmic scale")
        if self.log and self.step is not None:
            raise ValueError("expected step or log, not both")
        if self.step is not None:  # counted as Optuna counts, which would search another range
            low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
            if (high - low) / step > _MOST_STEPS:
                raise ValueError(f"expected a step of which at most {_MOST_STEPS:,} lie between low and high")
            if (high - low) % step:
                nearest_high = low + step * max(1, round((high - low) / step))
                raise ValueError(f"expected a high that is whole steps above low, as {nearest_high.normalize():f}")
        return self


@dataclass(frozen=True)
class Choices:
    """Values one of which is taken: of a field, or parts by name (or mappings with `use`)."""

    values: tuple[Any, ...]


Declared = Range | Choices | Literal["auto", "grid"]


@dataclass(frozen=True)
class Searched:
    """What the block says. dimensions: dotted path -> what it may be, in the file's order; objectives: names of
    metrics, empty where none are named; origins: path -> where the file says so."""

    dimensions: Mapping[str, Declared] = field(default_factory=dict)
    objectives: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def origin(self, path: str) -> str:
        """Where a dimension is declared, as messages begin."""
        return self.origins.get(path, BLOCK)


def searched(tree: Tree) -> Searched:
    """The block of an experiment's file, `search: {PATH: ...}` or `search: {objectives: [...], space: {PATH: ...}}`.
    Raises UserError where it is no mapping, and where a dimension is none, or of something that is never searched."""
    block = tree.get(BLOCK)
    if block is None:
        return Searched()
    if not isinstance(block, dict):
        raise UserError(
            f"{tree.origin(BLOCK)}: {BLOCK} = {block!r}: expected a mapping, as in {{model.head.depth: [1, 2]}}"
        )
    inner = tree.below(BLOCK)
    objectives = _objectives(inner)
    plain = inner.pick([name for name in inner.values if name not in (_SPACE, _OBJECTIVES)])
    found: dict[str, Declared] = {}
    origins: dict[str, str] = {}
    for layer in (plain, inner.below(_SPACE)):
        for path, value in _declared(layer.values, ""):
            origin = layer.origin(path)
            name = path.removesuffix(f".{USE}")
            if name in found:
                raise UserError(f"{origin}: {BLOCK}.{name}: given twice; expected it once")
            _refuse_closed(name, origin)
            found[name], origins[name] = _dimension(name, path, value, layer), origin
    return Searched(found, objectives, origins)


def _objectives(tree: Tree) -> tuple[str, ...]:
    given = tree.get(_OBJECTIVES, [])
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given) or len(set(given)) < len(given):
        raise UserError(
            f"{tree.origin(_OBJECTIVES)}: {BLOCK}.{_OBJECTIVES} = {given!r}: expected a list of different names of "
            "metrics, as in [bpb, train_flops]"
        )
    return tuple(given)


def _declared(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Path and declaration of every dimension; a mapping with low or high is one itself."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and not _is_range(value):
            yield from _declared(value, f"{path}.")
        else:
            yield path, value


def _is_range(value: Mapping[str, Any]) -> bool:
    return any(name in value and not isinstance(value[name], dict | list) for name in ("low", "high"))


def _refuse_closed(path: str, origin: str) -> None:
    """Raises UserError where a path is not one of model or train."""
    names = path.split(".")
    if names[0] in ("seed", "seeds") or names[-1] == "seed":
        raise UserError(f"{origin}: {BLOCK}.{path}: a seed is never searched; expected a field of model or train")
    if names[0] not in _OPEN:
        why = "its trials could not be compared" if names[0] in TOP else "no such setting"
        fields = [f"{section}.{name}" for section in _OPEN for name in SECTIONS[section].model_fields]
        hint = "" if names[0] in TOP else nearest(path, [*_OPEN, *fields])
        raise UserError(f"{origin}: {BLOCK}.{path}: {why}; expected a field of model or train{hint}")


def _dimension(name: str, path: str, value: Any, layer: Tree) -> Declared:
    origin = layer.origin(path)
    if isinstance(value, list):
        if len(value) < 2 or any(value.count(one) > 1 for one in value):
            raise UserError(f"{origin}: {BLOCK}.{name} = {value!r}: expected at least two different values")
        return Choices(tuple(value))
    if isinstance(value, dict) and value:
        return checked(Range, value, path, layer)
    if value == AUTO:
        return AUTO
    if value == GRID and name == LR:
        return GRID
    also = ", or grid" if name == LR else ""
    raise UserError(f"{origin}: {BLOCK}.{name} = {value!r}: {_EXPECTED}{also}")
