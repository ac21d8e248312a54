"""A variant with everything decided: what a run is made from, and what its identity is made from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lllm.config.checks import check_budget, check_fields
from lllm.config.experiment import Experiment, defaults
from lllm.config.schema import Budget, Data, Eval, Model, Run, Train
from lllm.config.sections import EXECUTION, SECTIONS, parse, part_of
from lllm.config.tree import Tree, merge
from lllm.errors import UserError
from lllm.registry import Build, PartSpec, Registry

if TYPE_CHECKING:
    from lllm.model import Composition

__all__ = ["Resolved", "resolve", "restore"]

_VERSION = "@version"  # not an identifier, so it is no field of any part


@dataclass(frozen=True)
class Resolved:
    """Validated settings of one variant. parts: kind -> part, for the kinds of the model and of training; an optional
    kind that is not used is absent. layer: the settings as given and where each came from."""

    experiment: str
    variant: str
    tokenizer: PartSpec
    corpus: PartSpec
    data: Data
    model: Model
    train: Train
    eval: Eval
    budget: Budget
    run: Run
    launcher: PartSpec
    parts: Mapping[str, PartSpec]
    layer: Tree = field(repr=False, compare=False)
    registry: Registry = field(repr=False, compare=False)

    @property
    def lr(self) -> float:
        """Peak learning rate: train.lr, or the optimizer's own default."""
        return _default_lr(self.parts["optimizer"]) if self.train.lr is None else self.train.lr

    def nodes(self) -> dict[str, PartSpec]:
        """Place ('model.head') -> part."""
        return {self.registry.place(kind): spec for kind, spec in self._every().items()}

    def build(self) -> Build:
        """A new context for parts outside the model, in which `part(kind)` is the one that these settings name."""
        return Build(self.registry, self._every())

    def build_data(self) -> Build:
        """The context of tokenizer and corpus, which know of each other and of nothing else: data are shared."""
        return Build(self.registry, {"tokenizer": self.tokenizer, "corpus": self.corpus})

    def semantic(self) -> dict[str, Any]:
        """Every setting that defines the run, written out in full."""
        return {name: value for name, value in self._full().items() if name != EXECUTION}

    def execution(self) -> dict[str, Any]:
        """Every setting that only says how it is executed."""
        return dict(self._full()[EXECUTION])

    def delta(self) -> dict[str, Any]:
        """The semantic settings that differ from their default: what the identity is made from.

        A part enters as {use, fields that differ}, with its version when that is not 1; at its defaults it does not.
        """
        tree = Tree()
        for name, section in self._sections().items():
            if name == EXECUTION:
                continue
            known = SECTIONS[name].model_fields  # parts stand among them
            given = {key: value for key, value in defaults().get(name, {}).items() if key in known}
            usual = SECTIONS[name].model_construct(**given).model_dump(mode="json")
            for key, value in _dump(section).items():
                if name == "budget" or value != usual[key]:
                    tree.put(f"{name}.{key}", value, "")
        for place, spec in self.nodes().items():
            node = _part_delta(place, spec, self.registry)
            if node and not place.startswith(f"{EXECUTION}."):
                tree.put(place, node, "")
        return tree.values

    def with_value(self, path: str, value: Any) -> Resolved:
        """The same with one setting changed, validated anew: how sizes are matched."""
        changed = Tree()
        changed.put(path, value, "match")
        return _resolved(self.experiment, self.variant, merge(self.layer, changed), self.registry)

    def composition(self, vocab: int, illegal: tuple[int, ...]) -> Composition:
        """The model's shape, for a tokenizer of `vocab` ids of which `illegal` are never predicted."""
        from lllm.model import Composition

        parts = {kind: spec for kind, spec in self.parts.items() if spec.entry.cls.section == "model"}
        model = self.model
        return Composition(parts, model.width, model.ratio, vocab, illegal, model.token_width)

    def _every(self) -> dict[str, PartSpec]:
        return {**self.parts, "tokenizer": self.tokenizer, "corpus": self.corpus, "launcher": self.launcher}

    def _sections(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SECTIONS}

    def _full(self) -> dict[str, Any]:
        full: dict[str, Any] = {name: _dump(section) for name, section in self._sections().items()}
        for place, spec in self.nodes().items():
            section, _, name = place.rpartition(".")
            node = {"use": spec.name, **spec.config.model_dump(mode="json")}
            (full[section] if section else full)[name] = node
        return full


def resolve(experiment: Experiment, variant: str, overrides: Tree, registry: Registry) -> Resolved:
    """Decide every setting of a variant: defaults < base < experiment < variant < overrides.

    Raises:
        UserError: naming where the value came from, its key, the value, what was expected and the nearest valid name.
    """
    layer = experiment.layer(variant, overrides)
    if "budget" not in layer.values:
        raise UserError(f"{experiment.path}: budget: missing; expected one of steps, bytes, flops, seconds")
    resolved = _resolved(experiment.name, variant, layer, registry)
    check_budget(experiment, variant, overrides)
    return resolved


def restore(
    experiment: str,
    variant: str,
    semantic: Mapping[str, Any],
    execution: Mapping[str, Any],
    registry: Registry,
    origin: str = "run.json",
    overrides: Tree | None = None,
) -> Resolved:
    """The inverse of `semantic` and `execution`: a recorded run's settings, under today's schema and parts, with
    `overrides` over them.

    Raises:
        UserError: a part or a setting that it was made with is no longer there.
    """
    recorded = Tree()
    for name, value in {**semantic, EXECUTION: execution}.items():
        recorded.put(name, value, origin)
    return _resolved(experiment, variant, merge(defaults(), recorded, overrides or Tree()), registry)


def _resolved(experiment: str, variant: str, layer: Tree, registry: Registry) -> Resolved:
    sections, nodes = parse(layer, registry, required=_required())
    check_fields(layer, sections["data"], sections["model"], sections["train"], sections["run"])
    by_kind = {spec.kind: spec for spec in nodes.values()}
    named: dict[str, Any] = {kind: by_kind.pop(kind) for kind in ("tokenizer", "corpus", "launcher")}
    if sections["train"].lr == _default_lr(nodes["train.optimizer"]):  # written out, it is the default left out
        sections["train"] = sections["train"].model_copy(update={"lr": None})
    return Resolved(experiment, variant, **named, **sections, parts=by_kind, layer=layer, registry=registry)


def _required() -> Collection[str]:
    """Places at which there must be a part: those with a default."""
    found = set()
    for name, value in defaults().values.items():
        own = SECTIONS[name].model_fields if name in SECTIONS else {}
        found |= {f"{name}.{key}" for key in value if key not in own} if name in SECTIONS else {name}
    return found


def _default_lr(optimizer: PartSpec) -> float:
    return float(getattr(optimizer.entry.cls, "default_lr"))  # noqa: B009 - declared by the contract, which needs torch


def _dump(section: Any) -> dict[str, Any]:
    """A section's fields as JSON has them; of a budget only the one that is set."""
    fields: dict[str, Any] = section.model_dump(mode="json", exclude_none=isinstance(section, Budget))
    return fields


def _part_delta(place: str, spec: PartSpec, registry: Registry) -> dict[str, Any]:
    """The node without what is at its default; empty for the default part at its defaults, in version 1."""
    usual = _usual(place, spec, registry)
    reference = usual or spec.entry.cls.Config.model_construct()
    before = reference.model_dump(mode="json", warnings=False)
    node = {k: v for k, v in spec.config.model_dump(mode="json").items() if k not in before or v != before[k]}
    if spec.entry.version != 1:
        node[_VERSION] = spec.entry.version
    return {"use": spec.name, **node} if node or usual is None else {}


def _usual(place: str, spec: PartSpec, registry: Registry) -> Any:
    """The config of the default part of that place, when `spec` is that part."""
    node = defaults().get(place)
    name = node.get("use") if isinstance(node, dict) else node
    if name != spec.name:
        return None
    usual = part_of(place, spec.kind, defaults(), registry, required=True)
    return usual.config if usual else None
