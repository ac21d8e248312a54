"""From an experiment's variants to arms: sizes matched to the baseline, budgets turned into steps, identities."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from lllm.config import Experiment, Resolved, Tree, resolve
from lllm.config.tree import merge
from lllm.errors import BuildError, UserError
from lllm.identity import arm as arm_of
from lllm.identity import code_fingerprint, evaluator_fingerprint
from lllm.model import LatentModel
from lllm.model.accounting import parameters, train_flops_per_token
from lllm.model.contracts import ModelPart
from lllm.model.match import solve
from lllm.registry import Entry, Registry
from lllm.train.recheck import used_parts
from lllm.train.setup import Setup

__all__ = ["Arm", "Arms", "arm_of_setup"]


@dataclass(frozen=True)
class Arm:
    """A fully decided variant. steps is None where the budget is measured time and has not been measured yet.

    used: the parts whose source makes the code fingerprint. flops_per_step: training FLOPs of one global batch;
    bytes_per_step: mean raw bytes of one. matched: what the size knob was set to, '' where nothing was turned.
    stage_flops: training FLOPs of its stages. note: what a user must know about how it was decided.
    """

    variant: str
    setup: Setup
    identity: str
    steps: int | None
    parameters: int
    flops_per_step: float
    bytes_per_step: float
    used: tuple[Entry, ...]
    matched: str = ""
    stage_flops: float = 0.0
    note: str = ""

    @property
    def resolved(self) -> Resolved:
        """Its settings."""
        return self.setup.resolved

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of arm, code, data and evaluator."""
        resolved = self.resolved
        return {
            "arm": self.identity,
            "code": code_fingerprint(self.used)[0],
            "data": self.setup.dataset.fingerprint,
            "evaluator": evaluator_fingerprint(resolved.eval, resolved.data.multiple, resolved.data.context),
        }


class Arms:
    """Arms of one experiment under one set of overrides, each decided once.

    progress(split, bytes) is told while data are prepared.
    """

    def __init__(
        self,
        experiment: Experiment,
        overrides: Tree,
        registry: Registry,
        progress: Callable[[str, int], None] = lambda split, done: None,
    ) -> None:
        self.experiment, self.overrides, self.registry, self.progress = experiment, overrides, registry, progress
        self._made: dict[str, Arm] = {}
        self._others: dict[str, Arm] = {}  # decided under the overrides that fit them
        self._setups: dict[str, Setup] = {}
        self._target: int | None = None

    def arm(self, variant: str) -> Arm:
        """The arm of `variant`.

        Raises:
            UserError: it cannot be built, matched, or trained on these data.
        """
        if variant not in self._made:
            self._made[variant] = self._decide(variant, self.resolved(variant))
        return self._made[variant]

    def resolved(self, variant: str) -> Resolved:
        """Its settings before matching, for which no data are prepared."""
        if variant in self._made:
            return self._made[variant].resolved
        return resolve(self.experiment, variant, self.overrides, self.registry)

    def adopt(self, arm: Arm) -> None:
        """Take an arm that was decided elsewhere, such as a recorded one, for its variant."""
        self._made[arm.variant] = arm

    def _decide(self, variant: str, resolved: Resolved) -> Arm:
        matched, note = "", ""
        try:
            setup = self._setup(resolved)
            if self.experiment.match is not None and variant != self.experiment.baseline:
                knob = self.experiment.match.knob or _size_of_ffn(resolved)
                if self._given(resolved, knob):
                    note = f"not matched: {knob} was given"
                else:
                    setup, matched = self._matched(variant, setup, knob)
            return self._budgeted(replace(arm_of_setup(variant, setup, matched), note=note))
        except BuildError as error:  # a part's own mistake: where and what, without a traceback
            raise UserError(str(error)) from error

    def _given(self, resolved: Resolved, path: str) -> bool:
        """Whether the overrides that fit this variant set `path`."""
        given = dict(self.overrides.leaves())
        return path in given and resolved.layer.origin(path) == self.overrides.origin(path)

    def _budgeted(self, arm: Arm) -> Arm:
        """With its step count, where the budget says it, and its identity."""
        budget = arm.resolved.budget
        if budget.unit == "seconds":
            return replace(arm, identity=arm_of(arm.resolved.delta(), {"seconds": float(budget.amount)}))
        amount = budget.amount
        if isinstance(amount, str):  # as many training FLOPs as that variant
            other = self._other(amount)
            if other.steps is None:
                raise UserError(
                    f"budget.flops = '{amount}': its own budget is in seconds; expected a variant that counts"
                )
            amount = other.steps * other.flops_per_step + other.stage_flops
        if budget.unit == "flops" and amount <= arm.stage_flops:
            raise UserError(
                f"budget.flops = {amount:.4g}: the stages of variant '{arm.variant}' alone take {arm.stage_flops:.4g}; "
                "expected more than that"
            )
        left = amount - arm.stage_flops if budget.unit == "flops" else amount
        per_step = {"steps": 1.0, "bytes": arm.bytes_per_step, "flops": arm.flops_per_step}[budget.unit]
        if left < per_step:
            raise UserError(
                f"budget.{budget.unit} = {amount:,g}: less than one step of variant '{arm.variant}', {per_step:,g}; "
                "expected at least that"
            )
        steps = round(left / per_step)
        return replace(arm, steps=steps, identity=arm_of(arm.resolved.delta(), {"steps": steps}))

    def _setup(self, resolved: Resolved) -> Setup:
        """Data of one tokenizer, corpus and padding are prepared once and shared by variants."""
        key = repr([resolved.tokenizer.to_node(), resolved.corpus.to_node(), resolved.data.multiple])
        if key in self._setups:
            return self._setups[key].under(resolved)
        self._setups[key] = Setup.prepare(self.registry, resolved, self.progress)
        return self._setups[key]

    def _matched(self, variant: str, setup: Setup, knob: str) -> tuple[Setup, str]:
        """The setup with the size knob turned until its parameters are the baseline's."""
        match = self.experiment.match
        assert match is not None

        def at(value: int) -> Setup:
            return replace(setup, resolved=setup.resolved.with_value(knob, value))

        found = solve(
            lambda value: parameters(at(value).model(None, "meta")),
            self._baseline_parameters(),
            match.params,
            where=f"match.params of variant '{variant}', turning {knob}",
        )
        return at(found.value), f"{knob} = {found.value}"

    def _baseline_parameters(self) -> int:
        """Parameters of the baseline under those overrides that fit it."""
        if self._target is None:
            resolved = self._fitted(self.experiment.baseline)
            self._target = parameters(self._setup(resolved).model(None, "meta"))
        return self._target

    def _other(self, variant: str) -> Arm:
        """The arm of a variant that another one refers to, under those overrides that fit it."""
        if variant not in self._made and variant not in self._others:
            self._others[variant] = self._decide(variant, self._fitted(variant))
        return self._made.get(variant) or self._others[variant]

    def _fitted(self, variant: str) -> Resolved:
        """A variant under those overrides that fit it: one may name a field of a part that only other variants have,
        and still sizes and budgets aim at this variant as it would be trained beside them."""
        with suppress(UserError):
            return resolve(self.experiment, variant, self.overrides, self.registry)
        fitting, left, missed = Tree(), list(self.overrides.leaves()), -1
        while left and len(left) != missed:  # some fit only beside others
            missed, tried = len(left), left
            left = []
            for path, value in tried:
                more = merge(fitting)
                try:
                    more.put(path, value, self.overrides.origin(path))
                    resolve(self.experiment, variant, more, self.registry)
                    fitting = more
                except UserError:
                    left.append((path, value))
        return resolve(self.experiment, variant, fitting, self.registry)


def arm_of_setup(variant: str, setup: Setup, matched: str = "") -> Arm:
    """The arm of settings that are final but for the budget: without steps and identity."""
    model = setup.model(None, "meta")
    data, train = setup.resolved.data, setup.resolved.train
    return Arm(
        variant=variant,
        setup=setup,
        identity="",
        steps=None,
        parameters=parameters(model),
        flops_per_step=train_flops_per_token(model, data.context) * data.context * train.batch,
        bytes_per_step=setup.batches(0).bytes_per_step,
        used=used_parts(model, setup.resolved),
        matched=matched,
        stage_flops=_stage_flops_per_token(model) * data.context * train.batch,
    )


def _size_of_ffn(resolved: Resolved) -> str:
    """The setting that sizes the variant's ffn."""
    ffn = resolved.parts["ffn"].entry
    size: str | None = getattr(ffn.cls, "sized_by", None)
    if size not in ffn.cls.Config.model_fields:
        raise UserError(
            f"match.knob: {resolved.registry.place(ffn.kind)} '{ffn.name}' of variant '{resolved.variant}' declares no "
            "size; expected match.knob: the setting to turn, as in model.width"
        )
    return f"{resolved.registry.place(ffn.kind)}.{size}"


def _stage_flops_per_token(model: LatentModel) -> float:
    """Training FLOPs of all steps of the model's stages, per source token of a batch."""
    parts = [part for part in model.modules() if isinstance(part, ModelPart)]
    return sum(stage.flops * stage.steps for part in parts for stage in part.stages())
