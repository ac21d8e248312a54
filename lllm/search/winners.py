"""What a sweep found: tuned.yaml, which `lllm run --tuned` reads, and the experiment of a search's winners."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML

from lllm.config import Experiment, Tree
from lllm.config.tree import merge
from lllm.config.yaml import read_plain_yaml
from lllm.errors import UserError
from lllm.identity import canonical
from lllm.launch.arm import Arm
from lllm.registry.config import first_error
from lllm.results.files import explained, write_bytes
from lllm.search.space import layer_of
from lllm.search.trials import with_fields

__all__ = [
    "Tried",
    "Tuned",
    "Winner",
    "definition_of",
    "read_tuned",
    "terms_of",
    "tuned_path",
    "with_tuned",
    "write_tuned",
    "write_winners",
]

_DEFINES = ("tokenizer", "corpus", "data", "model", "train")  # sections that make a variant what it is


@dataclass(frozen=True)
class Tried:
    """A trial that ended: its number, path -> value, and the metric, None where it came to none."""

    trial: int
    fields: Mapping[str, Any]
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best of a variant's trials. fields: path -> value; trials: how many the variant had, however they ended;
    trained: how many different runs they were (None: not recorded); terms: `terms_of` its arm; trial: the best one's
    number; value: of the metric; sensitivity: the metric at 0.5, 1 and 2 times its learning rate where that was
    measured, by '0.5x', '1x', '2x'; definition: digest of what the variant was; tried: every trial that ended."""

    fields: Mapping[str, Any]
    trials: int
    trained: int | None = None
    terms: Mapping[str, Any] = field(default_factory=dict)
    trial: Annotated[int, Field(alias="best_trial")]
    value: float
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    definition: str
    tried: tuple[Tried, ...] = ()

    def info(self) -> dict[str, Any]:
        """What run.json says of a run at these settings."""
        found = {"trials": self.trials, "trained": self.trained, "terms": dict(self.terms)}
        found |= {"fields": dict(self.fields), "sensitivity": dict(self.sensitivity)}
        return {**found, "tried": [dict(vars(trial)) for trial in self.tried]}


@dataclass(frozen=True)
class Tuned:
    """tuned.yaml. overrides: words of the sweep's command line that defined its runs; seed: that of all its trials;
    study: the last part of its studies' names; storage: without a password."""

    experiment: str
    metric: str
    overrides: tuple[str, ...]
    seed: Annotated[int, Field(alias="search_seed")]
    study: str
    storage: str
    winners: Annotated[Mapping[str, Winner], Field(alias="variants")]

    def extra(self, variant: str) -> dict[str, Any]:
        """What run.json records of a tuned run beside what defines it."""
        return {"tuned": {**self.winners[variant].info(), "overrides": list(self.overrides)}}


_FILE = TypeAdapter(Tuned)


def tuned_path(root: Path, experiment: str) -> Path:
    return root / experiment / "tuned.yaml"


def write_tuned(root: Path, tuned: Tuned) -> Path:
    """Write tuned.yaml, atomically, over the last sweep's; variants that this one did not sweep keep their entries
    where those were found on the same terms. Errors as in `write_bytes`."""
    path = tuned_path(root, tuned.experiment)
    every = replace(tuned, winners={**_kept(root, tuned), **tuned.winners})
    name = tuned.experiment
    text = f"# The best trial of each variant, by `lllm sweep {name}`; `lllm run {name} --tuned` uses them.\n"
    _write(path, text + _yaml(_FILE.dump_python(every, mode="json", by_alias=True, exclude_defaults=True)))
    return path


def _kept(root: Path, tuned: Tuned) -> Mapping[str, Winner]:
    try:
        old = read_tuned(root, tuned.experiment)
    except UserError:  # there is none, or it is damaged: nothing to keep
        return {}
    same = (old.metric, old.overrides, old.seed, old.study) == (tuned.metric, tuned.overrides, tuned.seed, tuned.study)
    return old.winners if same else {}


def read_tuned(root: Path, experiment: str) -> Tuned:
    """The winners of an experiment's last sweep. Raises UserError where there are none, or the file is damaged."""
    path = tuned_path(root, experiment)
    advice = f"expected what `lllm sweep {experiment}` writes"
    if not path.is_file():
        raise UserError(f"{path}: no such file; {advice}")
    try:
        return _FILE.validate_python(read_plain_yaml(path))
    except ValidationError as error:
        raise UserError(f"{path}: damaged ({first_error(error, BaseModel, '')[1]}); {advice}") from None


def terms_of(arm: Arm) -> dict[str, Any]:
    """On which terms trials of the arm are run, which `--tuned` compares with those of the runs that use what they
    found: budget, and fingerprints of data, evaluator and code."""
    known = {name: value for name, value in arm.terms.items() if name != "arm"}
    return {"budget": arm.resolved.budget.model_dump(exclude_none=True), **known}


def definition_of(experiment: Experiment, variant: str) -> str:
    """A digest of the variant's model, training and data as the file has them, budget and evaluation left out; where
    sizes are matched, of the baseline's too."""
    match = experiment.match
    named = [variant] if match is None else [variant, experiment.baseline]
    layers = [experiment.layer(name).pick(list(_DEFINES)).values for name in named]
    defined = {"layers": layers, "match": match.model_dump(exclude_none=True) if match else None}
    return blake2b(canonical(defined).encode(), digest_size=8).hexdigest()


def with_tuned(experiment: Experiment, tuned: Tuned, variants: Sequence[str], origin: str) -> Experiment:
    """The experiment whose variants are tuned: a layer between each variant and the command line. Raises UserError
    where a variant that is asked for was not tuned, or is not what it was when it was tuned."""
    for variant in variants:
        winner = tuned.winners.get(variant)
        again = f"expected `lllm sweep {experiment.name}` first"
        if winner is None:
            raise UserError(f"{origin}: variant '{variant}' is not in it; {again}")
        if winner.definition != definition_of(experiment, variant):
            raise UserError(f"{origin}: variant '{variant}' has changed since it was tuned; {again}")
    fields = {name: winner.fields for name, winner in tuned.winners.items() if name in experiment.variants}
    return with_fields(experiment, fields, origin)


def write_winners(
    path: Path,
    experiment: Experiment,
    overrides: Tree,
    base: str,
    found: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    hypothesis: str,
) -> Path:
    """Write an experiment that stands alone: the baseline of `experiment`, and each of the winners found, which are
    fields over the variant `base`; all under the overrides of the command line that found them."""
    below, defining = experiment.variants[base], overrides.pick([name for name in overrides.values if name != "run"])
    layers = {name: merge(below, layer_of(fields, str(path))) for name, fields in found.items()}
    layers = {experiment.baseline: experiment.variants[experiment.baseline], **layers}
    content = {
        "hypothesis": hypothesis,
        **merge(experiment.composition, overrides).values,
        "variants": {name: merge(tree, defining).values for name, tree in layers.items()},
        "baseline": experiment.baseline,
        "seeds": {"unpaired": list(seeds)} if experiment.unpaired else list(seeds),
        **({"match": experiment.match.model_dump(exclude_none=True)} if experiment.match else {}),
        "decide": experiment.decide.model_dump(exclude_none=True),
    }
    _write(path, _yaml(content))
    return path


def _write(path: Path, text: str) -> None:
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())


def _yaml(value: Any) -> str:
    """Block style, with keys in the order given."""
    yaml: Any = YAML(typ="safe", pure=True)
    stream = io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = False, 120, False
    yaml.dump(value, stream)
    return stream.getvalue()
