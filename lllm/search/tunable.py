"""What is tuned of each variant: its learning rate, and the fields of its parts that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from lllm.config import Experiment, Resolved, Tree, resolve
from lllm.config.search import AUTO, GRID, LR, Declared, Searched
from lllm.errors import UserError, nearest
from lllm.launch.arms import Arms
from lllm.launch.matching import knob_of
from lllm.registry import Entry, Registry
from lllm.search import grid
from lllm.search.composable import alternatives
from lllm.search.objectives import objectives
from lllm.search.space import Dimension, dimension_of, field_at, fields_of, mark_of, place_kinds, start

__all__ = ["Tunable", "among", "refuse_given", "tunables"]

_REACH = 3  # powers of two that a rate goes from its centre where other fields are searched beside it
_OPEN = ("model", "train")
_RATIO = "model.ratio"
_KNOWN = (LR, _RATIO)  # fields of which is known what to try


@dataclass(frozen=True)
class Tunable:
    """centre: the learning rate that the variant has when nothing is tuned; dimensions: the rate's comes first; start:
    the values that it has now; grid: whether the rate alone is tuned, on its grid."""

    variant: str
    centre: float
    dimensions: tuple[Dimension, ...]
    start: Mapping[str, Any]
    grid: bool

    def said(self, trials: int) -> str:
        """The space as a plan says it."""
        if self.grid:
            exponents = sorted(grid.first(trials))
            rates = ", ".join(f"{grid.at(self.centre, k):.3g}" for k in exponents)
            return f"{LR}: {rates}"
        return ", ".join(f"{one.path}: {among(one)}" for one in self.dimensions)


def tunables(arms: Arms, variants: Sequence[str], all_fields: bool) -> tuple[list[Tunable], list[str]]:
    """What is tuned of each variant, and what a user must know about what is not. The whole search block is looked at.

    A field is tuned in the variants that have it and do not set it themselves; a part is chosen by `--search` only.

    Raises:
        UserError: the search block names what there is nowhere, or values that are not taken; or a field of it is set
            on the command line or turned to match sizes.
    """
    experiment, notes = arms.experiment, list[str]()
    resolved = {variant: arms.resolved(variant) for variant in variants}
    every = [*resolved.values(), *_as_written(arms)]
    _refuse_unfit(experiment.search, every, arms.registry)
    objectives(experiment.search.objectives, every, experiment.decide)
    declared = _declared(arms, resolved.values() if all_fields else (), notes)
    rate = declared.pop(LR, GRID)
    for path in [LR, *declared]:
        refuse_given(path, arms.overrides)
    found: dict[str, list[Dimension]] = {variant: [] for variant in variants}
    for path, what in declared.items():
        having = {v: one for v, settings in resolved.items() if (one := field_at(path, _parts(settings))) is not None}
        if what == AUTO:  # parts of which only some propose values
            having = {variant: one for variant, one in having.items() if mark_of(one)} or having
        if not having:
            elsewhere = any(field_at(path, _parts(settings)) is not None for settings in every)
            notes.append(f"{path}: {'none of these variants has it' if elsewhere else 'no variant has it'}")
        for variant, one in having.items():
            if experiment.variants[variant].get(path) is not None:
                notes.append(f"{path}: variant {variant} sets it itself")
                continue
            _refuse_matched(experiment, variant, path, resolved[variant])
            found[variant].append(dimension_of(path, what, one, experiment.search.origin(path)))
    alone = rate in (AUTO, GRID) and not any(found.values())
    made = [_tunable(experiment, resolved[variant], rate, found[variant], alone) for variant in variants]
    return made, notes


def _declared(arms: Arms, annotated: Iterable[Resolved], notes: list[str]) -> dict[str, Declared]:
    """The fields of the search block, and those that the parts of `annotated` variants propose. What makes a variant
    what it is, its parts and its ratio, is not tuned."""
    shape = {*place_kinds(arms.registry), _RATIO}
    block = arms.experiment.search.dimensions
    notes += [f"{path}: is chosen by --search only" for path in block if path in shape]
    found = {path: one for path, one in block.items() if path not in shape}
    for resolved in annotated:
        marked = [path for path, one in fields_of(_parts(resolved)) if mark_of(one)]
        found |= {path: AUTO for path in marked if path not in found}
    return found


def _as_written(arms: Arms) -> Iterator[Resolved]:
    """The variants as the file alone has them, as far as it has all of them."""
    for variant in arms.experiment.variants:
        with suppress(UserError):
            yield resolve(arms.experiment, variant, Tree(), arms.registry)


def _refuse_unfit(block: Searched, every: Sequence[Resolved], registry: Registry) -> None:
    """Raises UserError for a part or a field of the block that there is nowhere, or that takes no such value anywhere,
    whether it is for this sweep or for `--search`."""
    chosen = alternatives(block.dimensions, registry, block)
    single = [{place: entry} for place, nodes in chosen.items() for _, entry in nodes]
    among = [*map(_parts, every), *single]
    for path, what in block.dimensions.items():
        if path in chosen or (path in _KNOWN and what in (AUTO, GRID)):
            continue
        fields = [one for parts in among if (one := field_at(path, parts)) is not None]
        if not fields:
            near = nearest(path, {name for parts in among for name, _ in fields_of(parts)})
            raise UserError(f"{block.origin(path)}: search.{path}: no variant has such a field{near}")
        refused = [_refusal(path, what, one, block.origin(path)) for one in fields]
        if all(refused):
            raise UserError(refused[0])


def _refusal(path: str, what: Declared, one: FieldInfo, origin: str) -> str:
    """Why the field does not take what is declared, '' where it does."""
    try:
        dimension_of(path, what, one, origin)
    except UserError as error:
        return str(error)
    return ""


def _tunable(
    experiment: Experiment, resolved: Resolved, rate: Declared, others: Sequence[Dimension], alone: bool
) -> Tunable:
    centre = resolved.lr
    if rate not in (AUTO, GRID):
        one = field_at(LR, {})
        assert one is not None
        lr = dimension_of(LR, rate, one, experiment.search.origin(LR))
    elif alone:
        lr = Dimension(LR, grid.distribution(centre))
    else:
        lr = Dimension(LR, grid.distribution(centre, _REACH))
    dimensions = (lr, *others)
    return Tunable(resolved.variant, centre, dimensions, start(dimensions, resolved), alone)


def _parts(resolved: Resolved) -> dict[str, Entry]:
    """Place -> part, of model and train."""
    return {place: spec.entry for place, spec in resolved.nodes().items() if place.split(".")[0] in _OPEN}


def refuse_given(path: str, overrides: Tree) -> None:
    """Raises UserError where the command line sets what is searched."""
    if overrides.get(path) is not None:
        raise UserError(
            f"{overrides.origin(path)}: {path}={overrides.get(path)}: the sweep searches it; expected one or the other"
        )


def _refuse_matched(experiment: Experiment, variant: str, path: str, resolved: Resolved) -> None:
    """Raises UserError where the size match would undo what a trial sets."""
    match = experiment.match
    if match is not None and variant != experiment.baseline and path == knob_of(match, resolved):
        raise UserError(
            f"{experiment.search.origin(path)}: search.{path}: match turns it in every trial; expected another "
            "field, or another match.knob"
        )


def among(one: Dimension) -> str:
    """The values that a dimension may take, as a plan says them."""
    shown = one.distribution
    choices = getattr(shown, "choices", None)
    if choices is not None:
        return " | ".join(map(str, choices))
    return f"{getattr(shown, 'low', 0):.3g} to {getattr(shown, 'high', 0):.3g}"
