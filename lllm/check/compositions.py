"""Which compositions to check: a part among the simplest others, its options, a covering set, or everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lllm.check.pairs import covering, nearest
from lllm.config import list_experiments, load_experiment, resolve
from lllm.config.tree import Tree
from lllm.errors import UserError
from lllm.model import Composition, LatentModel, compose
from lllm.model.simplest import example, simplest
from lllm.registry import Build, Entry, PartSpec, Registry, Search

__all__ = ["RATIOS", "WIDTH", "alone", "asked", "chosen", "cover", "everything", "minimal", "options"]

RATIOS = range(1, 9)
WIDTH = 8
_TRIES = 600  # compositions tried around a part before it is said to fit nowhere
_SMALL = (2, 5, 9, 16)  # values tried for a number that may be left out

Parts = Mapping[str, PartSpec]


def alone(registry: Registry) -> Build:
    """A new context for parts outside the model, in which the settings name the simplest part of every other kind."""
    return Build(registry, {kind: specs[0] for kind, specs in simplest(registry, model=False).items()})


def minimal(registry: Registry, spec: PartSpec, ratios: Sequence[int] = RATIOS) -> dict[int, Composition]:
    """For each ratio at which the part can run, the simplest composition that really uses it."""
    found = {ratio: _around(registry, spec, ratio) for ratio in ratios}
    return {ratio: choice for ratio, choice in found.items() if choice is not None}


def options(registry: Registry, entry: Entry, ratios: Sequence[int]) -> list[Composition]:
    """The part's other examples, and its first with one option turned: each choice of a bool or a Literal, each end of
    what a sweep may turn, one small value where a number may be left out. Each stands at one of `ratios`, in turn;
    values that are refused are left out."""
    first = example(registry, entry)
    tried = [[example(registry, entry, i)] for i in range(1, len(entry.cls.examples()))]
    for name, field in entry.cls.Config.model_fields.items():
        tried += [
            [spec for value in alternatives if (spec := _turned(registry, entry, name, value)) is not None]
            for alternatives in _values(field)
        ]
    found: list[Composition] = []
    known = [first.config]
    for specs in tried:
        ratio = ratios[len(found) % len(ratios)]
        for spec in specs:
            choice = None if spec.config in known else _around(registry, spec, ratio)
            if choice is not None:
                found.append(choice)
                known.append(spec.config)
                break
    return found


def cover(registry: Registry) -> list[Composition]:
    """Compositions at ratios 1 to 8 in which every two model parts, and every part and ratio, that fit, meet."""
    specs = simplest(registry)
    names: dict[str, list[Any]] = {kind: [spec.name for spec in of] for kind, of in specs.items()}
    by_name = {kind: {spec.name: spec for spec in of} for kind, of in specs.items()}

    def parts(row: Mapping[str, Any]) -> dict[str, PartSpec]:
        return {kind: by_name[kind][row[kind]] for kind in specs}

    def legal(row: Mapping[str, Any]) -> bool:
        return fits(registry, chosen(parts(row), row["ratio"]))

    rows = covering({"ratio": list(RATIOS), **names}, legal)
    return [chosen(parts(row), row["ratio"]) for row in rows]


def everything(registry: Registry) -> Iterator[Composition]:
    """The full product of model parts and ratios, as far as it fits together."""
    specs = simplest(registry)
    for ratio in RATIOS:
        for row in product(*specs.values()):
            choice = chosen(dict(zip(specs, row, strict=True)), ratio)
            if fits(registry, choice):
                yield choice


def asked(registry: Registry) -> Iterator[tuple[str, Composition]]:
    """('experiment variant', composition) of every variant of every experiment that can be read, at the suite's width,
    or the next multiple of it at which the parts fit together; at its own where they do at none of them."""
    for listed in list_experiments():
        if listed.problem:
            continue
        experiment = load_experiment(listed.name)
        for variant in experiment.variants:
            try:
                own = resolve(experiment, variant, Tree(), registry).composition(vocab=7, illegal=())
            except UserError:  # a part that is not installed here; `lllm list` and `lllm run` say so
                continue
            widths = (WIDTH << i for i in range(4))
            small = (replace(own, width=width, token_width=None) for width in widths)
            yield f"{listed.name} {variant}", next((choice for choice in small if fits(registry, choice)), own)


def chosen(parts: Parts, ratio: int) -> Composition:
    """A composition at the suite's width; the vocabulary is set by each test."""
    return Composition(dict(parts), WIDTH, ratio, vocab=7)


def fits(registry: Registry, choice: Composition, *, uses: Callable[[LatentModel], bool] = lambda model: True) -> bool:
    """Whether the parts go together; whatever else is wrong with them is for the tests to say."""
    try:
        return uses(compose(registry, choice, device="meta"))
    except UserError:
        return False
    except Exception:  # noqa: BLE001 - a stranger's part may raise anything; the suite then reports it as its failure
        return True


def _around(registry: Registry, spec: PartSpec, ratio: int) -> Composition | None:
    """The simplest composition with `spec` in it, in which the fewest others are not the simplest of their kind."""
    for row in islice(nearest({**simplest(registry), spec.kind: [spec]}), _TRIES):
        choice = chosen(row, ratio)
        if fits(registry, choice, uses=lambda model: (spec.kind, spec.name) in model.used):
            return choice
    return None


def _turned(registry: Registry, entry: Entry, name: str, value: Any) -> PartSpec | None:
    try:
        return example(registry, entry, **{name: value})
    except UserError:
        return None


def _values(field: FieldInfo) -> list[list[Any]]:
    """Values of one option worth trying, from its type and annotations alone; of an inner list, the first that fits."""
    inside = [field.annotation, *get_args(field.annotation)]
    inside += [arg for one in inside if get_origin(one) is not None for arg in get_args(one)]
    values: list[list[Any]] = []
    for one in inside:
        if one is bool:
            values += [[True], [False]]
        elif get_origin(one) is Literal:
            values += [[choice] for choice in get_args(one)]
    for mark in field.metadata:
        if isinstance(mark, Search):
            values += [[choice] for choice in (*mark.choices, mark.low, mark.high) if choice is not None]
    if int in inside and type(None) in inside:
        values.append(list(_SMALL))
    return values
