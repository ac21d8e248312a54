"""What a sweep may turn, as Optuna knows it: from a declaration and a field's annotation to a distribution."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lllm.config import Resolved, Tree
from lllm.config.search import LR, Choices, Declared, Range
from lllm.config.sections import SECTIONS
from lllm.errors import UserError
from lllm.registry import Entry, Registry, Search

__all__ = [
    "Dimension",
    "chosen",
    "dimension_of",
    "field_at",
    "fields_of",
    "layer_of",
    "mark_of",
    "place_kinds",
    "start",
    "suggest",
    "typed",
    "written",
]

_PLAIN = (str, int, float, bool, type(None))  # what Optuna keeps as a choice


@dataclass(frozen=True)
class Dimension:
    """path: the setting that its value goes to; name: of Optuna's parameter; values: label -> value, of choices that
    Optuna cannot hold; when: (place, part) of the choice that brings it, None: it is always there."""

    path: str
    distribution: BaseDistribution
    name: str = ""
    values: Mapping[Any, Any] = field(default_factory=dict)
    when: tuple[str, str] | None = None

    @property
    def parameter(self) -> str:
        return self.name or self.path

    def value(self, label: Any) -> Any:
        """The value that Optuna's stands for."""
        return self.values.get(label, label)


def chosen(dimensions: Sequence[Dimension], params: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> value of the dimensions that are there, by the parameters of a trial."""
    return _fields(dimensions, lambda one: params[one.parameter])


def suggest(dimensions: Sequence[Dimension], trial: Trial) -> dict[str, Any]:
    """`chosen` by a trial that asks its sampler."""
    return _fields(dimensions, lambda one: _suggested(trial, one.parameter, one.distribution))


def start(dimensions: Sequence[Dimension], resolved: Resolved) -> dict[str, Any]:
    """The composition in Optuna's terms, as far as it can be said in them: a study's first trial."""
    parts = {place: spec.name for place, spec in resolved.nodes().items()}
    full = {**dict(Tree(resolved.semantic()).leaves()), LR: resolved.lr, **parts}
    return {one.parameter: full.get(one.path) for one in dimensions}


def layer_of(fields: Mapping[str, Any], origin: str) -> Tree:
    layer = Tree()
    for path, value in fields.items():
        layer.put(path, value, origin)
    return layer


def typed(fields: Mapping[str, Any]) -> list[str]:
    """The fields as they would be typed on the command line."""
    return [f"{path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in fields.items()]


def written(dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """The space as plain values: what a study records, so that a later sweep can tell whether it is the same. with: the
    parts that bring the parameter; structured: those of its choices that stand for a list or a mapping."""
    found: dict[str, Any] = {}
    for one in dimensions:
        space = found.setdefault(one.parameter, json.loads(distribution_to_json(one.distribution)))
        if one.when is not None:
            space.setdefault("with", []).append(" ".join(one.when))
        if one.values:
            space["structured"] = sorted(one.values)
    return found


def place_kinds(registry: Registry) -> dict[str, str]:
    """Places of a file at which a part is named -> its kind."""
    return {registry.place(kind): kind for kind in registry.sections()}


def fields_of(parts: Mapping[str, Entry]) -> Iterator[tuple[str, FieldInfo]]:
    """Path and field of every setting of model and train, those of the parts at their places included."""
    for section in ("model", "train"):
        yield from ((f"{section}.{name}", one) for name, one in SECTIONS[section].model_fields.items())
    for place, entry in parts.items():
        yield from ((f"{place}.{name}", one) for name, one in entry.cls.Config.model_fields.items())


def field_at(path: str, parts: Mapping[str, Entry]) -> FieldInfo | None:
    """The setting at a path, None where there is none."""
    return dict(fields_of(parts)).get(path)


def mark_of(one: FieldInfo) -> Search | None:
    """The field's own annotation of what a sweep may try."""
    return next((mark for mark in one.metadata if isinstance(mark, Search)), None)


def dimension_of(
    path: str, declared: Declared, one: FieldInfo, origin: str, when: tuple[str, str] | None = None
) -> Dimension:
    """The dimension that a declaration makes of the setting at `path`. origin: as messages begin. Raises
    UserError where the field takes no such value, and for `auto` of a field that says nothing itself."""
    if not isinstance(declared, Range | Choices):
        mark = mark_of(one)
        if mark is None:
            raise UserError(
                f"{origin}: {path} = {declared}: the field itself does not say what to try; expected a list of values "
                "or {low: ..., high: ...}"
            )
        if mark.choices:
            declared = Choices(tuple(mark.choices))
        elif mark.low is None or mark.high is None:
            raise UserError(f"{origin}: {path}: its Search annotation has neither choices nor both ends of a range")
        else:
            declared = Range(low=mark.low, high=mark.high, log=mark.log)
    tried = declared.values if isinstance(declared, Choices) else (declared.low, declared.high)
    for value in tried:
        _refuse_unfit(path, value, one, origin)
    if isinstance(declared, Range):
        return Dimension(path, _distribution(path, declared, one, origin), when=when)
    return choice(path, declared.values, when)


def choice(path: str, values: Sequence[Any], when: tuple[str, str] | None = None) -> Dimension:
    """One of some values; what Optuna cannot hold is called by its JSON."""
    labels = [value if isinstance(value, _PLAIN) else json.dumps(value, sort_keys=True) for value in values]
    held = {label: value for label, value in zip(labels, values, strict=True) if not isinstance(value, _PLAIN)}
    return Dimension(path, CategoricalDistribution(labels), values=held, when=when)


def _distribution(path: str, found: Range, one: FieldInfo, origin: str) -> BaseDistribution:
    if _whole(one.annotation):
        if any(value != int(value) for value in (found.low, found.high, found.step or 1)):
            raise UserError(f"{origin}: {path} = {found.low} to {found.high}: expected whole numbers")
        return IntDistribution(int(found.low), int(found.high), log=found.log, step=int(found.step or 1))
    step = None if found.step is None else float(found.step)
    return FloatDistribution(float(found.low), float(found.high), log=found.log, step=step)


def _whole(annotation: Any) -> bool:
    """Whether a field takes whole numbers only."""
    types = _types(annotation)
    return int in types and float not in types


def _types(annotation: Any) -> set[Any]:
    inner = get_args(annotation)
    return {annotation}.union(*map(_types, inner)) if inner else {annotation}


def _refuse_unfit(path: str, value: Any, one: FieldInfo, origin: str) -> None:
    """Raises UserError where the field cannot be `value`."""
    if isinstance(value, float) and value == int(value) and _whole(one.annotation):
        value = int(value)  # a range of a field's own annotation is of floats
    kind: Any = Annotated[(one.annotation, *(one.metadata or [None]))]
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{origin}: {path}: {value!r}: {reason[0].lower() + reason[1:]}") from None


def _fields(dimensions: Sequence[Dimension], get: Callable[[Dimension], Any]) -> dict[str, Any]:
    """What a chosen part brings comes after that part. get: Optuna's value of a dimension."""
    found: dict[str, Any] = {}
    for one in dimensions:
        part = found.get(one.when[0]) if one.when else None
        if one.when is None or (part.get("use") if isinstance(part, Mapping) else part) == one.when[1]:
            found[one.path] = one.value(get(one))
    return found


def _suggested(trial: Trial, name: str, among: BaseDistribution) -> Any:
    if isinstance(among, IntDistribution):
        return trial.suggest_int(name, among.low, among.high, step=among.step, log=among.log)
    if isinstance(among, FloatDistribution):
        return trial.suggest_float(name, among.low, among.high, step=among.step, log=among.log)
    assert isinstance(among, CategoricalDistribution)
    return trial.suggest_categorical(name, among.choices)
