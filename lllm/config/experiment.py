"""An experiment's file: the question, the composition that all variants share, and what each changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from lllm.config.design import Design, designed, named_deltas
from lllm.config.schema import Decide, Match, Run, Section
from lllm.config.search import BLOCK, Searched, searched
from lllm.config.sections import TOP, at_home, checked, hint
from lllm.config.tree import Tree, merge
from lllm.config.yaml import read_yaml
from lllm.errors import UserError, nearest
from lllm.registry.discovery import shipped

__all__ = ["Experiment", "Listed", "defaults", "list_experiments", "load_experiment"]

_FOLDER = "experiments"
_DEFAULTS = "defaults"
_UNPAIRED = "unpaired"


def _by_metric(value: Any) -> Any:
    """`decide: bpb` is short for `decide: {metric: bpb}`."""
    return {"metric": value} if isinstance(value, str) else value


def _unpaired(seeds: Any) -> bool:
    """Whether `seeds: {unpaired: [0, 1, 2]}` says that a seed does nothing in common to all variants; `seeds: unpaired`
    says so where the command line names them."""
    return seeds == _UNPAIRED or (isinstance(seeds, dict) and list(seeds) == [_UNPAIRED])


def _seeds(value: Any) -> Any:
    """The list itself, with which runs are unpaired or not."""
    if _unpaired(value):
        return value[_UNPAIRED] if isinstance(value, dict) else [0]
    if isinstance(value, dict | str):
        raise ValueError(f"expected a list, or {{{_UNPAIRED}: [0, 1, 2]}}")
    return value


def _mapping(value: Any) -> Any:
    if value is not None and not isinstance(value, dict):
        raise ValueError("expected a mapping, as in {params: 1%}")
    return value


class Plan(Section):
    """What an experiment says beyond its composition."""

    hypothesis: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    base: str | None = None
    baseline: str | None = None
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 63)]], BeforeValidator(_seeds)] = Field(
        default_factory=lambda: [0], min_length=1
    )
    decide: Annotated[Decide, BeforeValidator(_by_metric)] = Decide()
    match: Annotated[Match | None, BeforeValidator(_mapping)] = None

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("expected distinct seeds")
        return seeds


PLAN = (*Plan.model_fields, "variants", "design", "stack", BLOCK)  # what stands in the experiment's file only


@dataclass(frozen=True)
class Experiment:
    """A question. composition: defaults, base and the file's own sections, in that order. variants: name -> deltas.
    baseline: the variant that others are compared with and matched to. match: None where nothing is matched. search:
    what a sweep may turn. design: how the variants were made of a stack of deltas (None: they are listed). unpaired:
    runs of one seed are compared as if they had none in common."""

    name: str
    path: Path
    hypothesis: str
    composition: Tree
    variants: Mapping[str, Tree]
    baseline: str
    seeds: tuple[int, ...]
    base: str | None = None
    match: Match | None = None
    decide: Decide = field(default_factory=Decide)
    search: Searched = field(default_factory=Searched)
    design: Design | None = None
    unpaired: bool = False

    def layer(self, variant: str, overrides: Tree | None = None) -> Tree:
        """All settings of a variant, not yet validated. Raises UserError where there is no such variant."""
        if variant not in self.variants:
            raise UserError(f"{self.name}: unknown variant '{variant}'{nearest(variant, self.variants)}")
        given = overrides or Tree()
        if given.get("budget.flops") == variant:  # "as many FLOPs as that variant" asks nothing of that variant itself
            given = given.pick([name for name in given.values if name != "budget"])
        return merge(self.composition, self.variants[variant], given)


@dataclass(frozen=True)
class Listed:
    """One line of a listing. source: 'working directory' or 'shipped'; problem: why the file cannot be used, or ''."""

    name: str
    path: Path
    source: str
    hypothesis: str
    problem: str = ""


@lru_cache(maxsize=1)
def defaults() -> Tree:
    """The first layer of everything: the shipped default part of each kind. Not to be changed in place."""
    return read_yaml(shipped(_FOLDER) / f"{_DEFAULTS}.yaml")


def load_experiment(name: str, cwd: Path | None = None) -> Experiment:
    """The experiment `name` of ./experiments, of the package or of ./results, where a search writes its winners as one;
    or the one in the YAML file at that path.

    Raises:
        UserError: there is none; it or its base is malformed; the base has a base.
    """
    path = _find(name, cwd, "")
    tree = _read(path)
    if "hypothesis" not in tree.values:
        raise UserError(f"{path}: hypothesis: missing; expected what the experiment is to show, before any run")
    plan = checked(Plan, {k: v for k, v in tree.values.items() if k in Plan.model_fields}, "", tree)
    layers = [defaults()]
    if plan.base is not None:
        layers.append(_base(plan.base, tree, cwd))
    variants, design = designed(tree) or (named_deltas(tree, "variants", {"base": {}}), None)
    baseline = plan.baseline if plan.baseline is not None else next(iter(variants))
    if baseline not in variants:
        raise UserError(
            f"{tree.origin('baseline')}: baseline = '{baseline}': no such variant{nearest(baseline, variants)}"
        )
    return Experiment(
        name=path.stem,
        path=path,
        hypothesis=" ".join(plan.hypothesis.split()),
        base=plan.base,
        composition=merge(*layers, at_home(tree).pick(TOP)),
        variants=variants,
        baseline=baseline,
        seeds=tuple(plan.seeds),
        match=plan.match,
        decide=plan.decide,
        design=design,
        search=searched(tree),
        unpaired=_unpaired(tree.get("seeds")),
    )


def list_experiments(cwd: Path | None = None) -> list[Listed]:
    """Every experiment that can be asked for by name, sorted; a file that cannot be read is listed with its problem."""
    listed = []
    for name, path in sorted(_known(cwd).items()):
        source = "shipped" if path.parent == shipped(_FOLDER) else "working directory"
        try:
            listed.append(Listed(name, path, source, load_experiment(name, cwd).hypothesis))
        except UserError as error:
            listed.append(Listed(name, path, source, "", str(error)))
    return listed


def _known(cwd: Path | None) -> dict[str, Path]:
    """Name -> file; the working directory's come first."""
    found: dict[str, Path] = {}
    for folder in (shipped(_FOLDER), (cwd or Path.cwd()) / _FOLDER):
        found |= {p.stem: p for p in folder.glob("*.yaml") if p.stem != _DEFAULTS and p.stem[0] not in "._"}
    return found


def _find(name: str, cwd: Path | None, where: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name or "\\" in name:
        path = (cwd or Path.cwd()) / name
        if not path.is_file():
            raise UserError(f"{where}experiment '{name}': no such file; expected a YAML file or an experiment's name")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", path.stem):
            raise UserError(
                f"{where}experiment '{name}': its name becomes a directory; expected letters, digits, '_', '-', '.'"
            )
        return path
    known = _known(cwd)
    found = (cwd or Path.cwd()) / Run().results / name / f"{name}.yaml"
    if name not in known and found.is_file():  # an experiment that a search wrote lies with its results
        return found
    if name not in known:
        raise UserError(f"{where}unknown experiment '{name}'{nearest(name, known)}")
    return known[name]


def _read(path: Path) -> Tree:
    """The file's settings, with unknown top-level keys refused."""
    tree = read_yaml(path)
    for key in tree.values:
        if key not in (*PLAN, *TOP, *Run.model_fields):
            raise UserError(f"{tree.origin(key)}: unknown key '{key}'{hint(key, PLAN)}")
    return tree


def _base(name: str, tree: Tree, cwd: Path | None) -> Tree:
    """The composition of the base; its variants, seeds and matching are its own affair."""
    below = _read(_find(name, cwd, f"{tree.origin('base')}: base: "))
    if below.get("base") is not None:
        raise UserError(
            f"{tree.origin('base')}: base = '{name}': it has a base itself, '{below.get('base')}'; expected one level"
        )
    return at_home(below).pick(TOP)
