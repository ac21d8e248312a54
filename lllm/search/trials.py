"""A trial as an ordinary run: a variant with some fields set, at the search seed, with the study's number of steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from typing import Any

import optuna

from lllm.config import Experiment, Tree
from lllm.config.tree import merge
from lllm.errors import UserError
from lllm.launch.arms import Arm, Arms
from lllm.launch.machine import machine
from lllm.launch.measure import measured_steps, with_threads
from lllm.launch.plan import Planned, make_plan
from lllm.registry import Entry
from lllm.registry.build import blaming
from lllm.results.named import WORDS, recorded_words
from lllm.search.claims import SETTLE
from lllm.search.space import layer_of, typed

__all__ = ["FIRST_SEED", "Measured", "Trials", "agreed", "search_seed", "with_fields"]

FIRST_SEED = 1000
_PROBE = "trial"  # what a composition is called while it is decided
MEASURED = "measured"  # user attribute of a study: its `Measured`

_Size = tuple[str, float, int]  # variant, FLOPs of a step, parameters: trials that cost alike


def _size(arm: Arm) -> _Size:
    return arm.variant, arm.flops_per_step, arm.parameters


def search_seed(experiment: Experiment) -> int:
    """The seed of every trial, which is none that the experiment itself uses: what a search chose by one seed is
    believed by others."""
    return next(seed for seed in count(FIRST_SEED) if seed not in experiment.seeds)


def with_fields(experiment: Experiment, fields: Mapping[str, Mapping[str, Any]], origin: str) -> Experiment:
    """The experiment whose variants have these fields as well: variant -> path -> value. They lie over the variant's
    own deltas, below the command line, and no other variant sees them."""
    layered = {name: layer_of(some, origin) for name, some in fields.items()}
    variants = {name: merge(tree, layered.get(name, Tree())) for name, tree in experiment.variants.items()}
    return replace(experiment, variants=variants)


@dataclass(frozen=True)
class Measured:
    """steps: of every trial; machine: on what they were measured, as `lllm.launch.machine.machine` has it."""

    steps: int
    machine: Mapping[str, Any]

    @property
    def on(self) -> str:
        return f"{self.machine['device']}, {self.machine['threads']} thread(s)"


def agreed(
    studies: Mapping[str, optuna.Study], measure: Callable[[str], Measured]
) -> tuple[dict[str, Measured], set[str]]:
    """What the first driver of each study has measured, by name of the study here, and the names of those that are
    measured now, by `measure(name)`. There is no writing of what nobody has written yet: two drivers that measure at
    the same moment both write, and the later note is there, for both of them, a moment later."""
    mine: dict[str, Measured] = {}
    for name, study in studies.items():
        if MEASURED not in study.user_attrs:
            found = measure(name)
            if MEASURED not in study.user_attrs:  # measuring takes a while
                study.set_user_attr(MEASURED, asdict(found))
                mine[name] = found
    if mine:
        time.sleep(SETTLE)
    known = {name: Measured(**study.user_attrs[MEASURED]) for name, study in studies.items()}
    return known, {name for name, found in mine.items() if found == known[name]}


@dataclass
class Trials:
    """How trials of one sweep become runs.

    arms: of the experiment as it is, whose data all trials use; words: of the command line, plugins included; plugins:
    their paths; apart: trials stand beside the variant in whose directory they live, and are matched to it where it is
    the baseline, instead of taking its place.
    """

    arms: Arms
    words: Sequence[str]
    plugins: Sequence[str]
    seed: int
    apart: bool = False
    _measured: dict[_Size, Measured] = field(default_factory=dict)

    def measure(self, studies: Mapping[str, optuna.Study], threads: int) -> tuple[dict[str, Measured], set[str]]:
        """Where the budget is of seconds: how many steps it has for each variant, as the first driver of its study has
        measured before anything trained, with as many threads as a run will have. All trials of that variant and size
        take as many. studies: by variant. Returns what was measured by variant, and the variants measured now."""

        def measured(variant: str) -> Measured:
            arm = self.arms.arm(variant)
            with with_threads(threads):
                return Measured(measured_steps(arm, self.seed), machine(arm.resolved))

        timed = {variant: study for variant, study in studies.items() if self.arms.arm(variant).steps is None}
        found, now = agreed(timed, measured)
        self._measured |= {_size(self.arms.arm(variant)): one for variant, one in found.items()}
        return found, now

    def definition(self, variant: str, entries: Sequence[Entry]) -> dict[str, Any]:
        """What trials of the variant have in common, as plain values: a sweep under other terms is another study.
        entries: parts that may be chosen beside its own."""
        arm = self.arms.arm(variant)
        return {
            "experiment": self.arms.experiment.name,
            "variant": variant,
            "search_seed": self.seed,
            "settings": arm.resolved.delta(),
            "steps": arm.steps,
            "data": arm.terms["data"],
            "parts": {f"{entry.kind} {entry.name}": [entry.digest, entry.version] for entry in (*arm.used, *entries)},
        }

    def planned(self, variant: str, fields: Mapping[str, Any], study: str, number: int) -> Planned:
        """The run of a trial; errors as in `make_plan`."""
        if self.apart:
            made, probe = self._probe(variant, fields)
            made.adopt(replace(made.arm(probe), variant=variant))
        else:
            made = self._in_place(variant, fields, f"trial {number}")
        run = make_plan(made, [variant], [self.seed], plugins=self.plugins).runs[0]
        words = recorded_words([*self.words, *typed(fields)])
        told = {"study": study, "number": number, "fields": dict(fields)}
        extra = {"trial": told, WORDS: words}
        measured = self._measured.get(_size(run.arm))
        if measured is None:
            return replace(run, extra=extra)
        arm = replace(run.arm, steps=measured.steps)
        return replace(run, arm=arm, extra={**extra, "machine": dict(measured.machine)})

    def refuses(self, variant: str, fields: Mapping[str, Any]) -> bool:
        """Whether the variant with these fields cannot be built, matched or trained."""
        try:
            with blaming(self.arms.registry):
                self._in_place(variant, fields, "trial").arm(variant)
        except UserError:
            return True
        return False

    def settings(self, variant: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What the variant with these fields says, before sizes are matched: the settings that are not at their
        default."""
        made, probe = self._probe(variant, fields)
        return made.resolved(probe).delta()

    def _in_place(self, variant: str, fields: Mapping[str, Any], origin: str) -> Arms:
        return self.arms.beside(with_fields(self.arms.experiment, {variant: fields}, origin))

    def _probe(self, variant: str, fields: Mapping[str, Any]) -> tuple[Arms, str]:
        """Arms in which the variant with these fields stands beside the others, and its name there."""
        experiment = self.arms.experiment
        layer = merge(experiment.variants[variant], layer_of(fields, "trial"))
        name = next(name for name in (_PROBE, f"{_PROBE}_{variant}") if name not in experiment.variants)
        return self.arms.beside(replace(experiment, variants={**experiment.variants, name: layer})), name
