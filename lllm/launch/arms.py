"""From an experiment's variants to arms: sizes matched to the baseline, budgets turned into steps, identities."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lllm.config import Experiment, Match, Resolved, Tree, resolve, restore
from lllm.config.tree import merge
from lllm.errors import BuildError, UserError
from lllm.identity import arm as arm_of
from lllm.launch import measure
from lllm.launch.arm import Arm, arm_of_setup
from lllm.launch.matching import at_default, counted, knob_of, timed, turned
from lllm.launch.timing import Timings, Unmeasured, question
from lllm.registry import Registry
from lllm.results.records import Record
from lllm.train.setup import Setup

__all__ = ["Arm", "Arms", "arm_of_setup", "recorded_arms"]


class Arms:
    """Arms of one experiment under one set of overrides, each decided once.

    progress(split, bytes) is told while data are prepared. results: below which measurements are kept (None: where the
    settings say). measure: told of each size that is measured in order to match by time; None: nothing may be measured.
    """

    def __init__(
        self,
        experiment: Experiment,
        overrides: Tree,
        registry: Registry,
        progress: Callable[[str, int], None] = lambda split, done: None,
        *,
        results: Path | None = None,
        measure: Callable[[str], None] | None = None,
    ) -> None:
        self.experiment, self.overrides, self.registry, self.progress = experiment, overrides, registry, progress
        self._made: dict[str, Arm] = {}
        self._others: dict[str, Arm] = {}  # decided under the overrides that fit them
        self._setups: dict[str, Setup] = {}
        self._sizes: dict[str, int] = {}  # that were found by counting: most trials of a sweep ask for the same one
        self._results, self._measure = results, measure
        self._target: Setup | None = None
        self._reference: Arms | None = None  # whose baseline sizes are matched to, where this is another reading

    def arm(self, variant: str) -> Arm:
        """The arm of `variant`.

        Raises:
            UserError: it cannot be built, matched, or trained on these data.
            Unmeasured: its size is matched by time, which was not measured and may not be here.
        """
        if variant not in self._made:
            self._made[variant] = self._decide(variant, self.resolved(variant))
        return self._made[variant]

    def known(self, variant: str) -> Arm:
        """As `arm`, but nothing is measured: a variant whose size awaits that has no runs, and no identity."""
        measure, self._measure = self._measure, None
        try:
            return self.arm(variant)
        except Unmeasured:
            return arm_of_setup(variant, self._setup(self.resolved(variant)))
        finally:
            self._measure = measure

    def resolved(self, variant: str) -> Resolved:
        """Its settings before matching, for which no data are prepared."""
        if variant in self._made:
            return self._made[variant].resolved
        return resolve(self.experiment, variant, self.overrides, self.registry)

    def beside(self, experiment: Experiment) -> Arms:
        """Arms of another reading of the experiment, under the same overrides, on the data prepared already. Sizes are
        matched to this one's baseline, the other's baseline among them: what is tuned of it may be its size."""
        other = Arms(
            experiment, self.overrides, self.registry, self.progress, results=self._results, measure=self._measure
        )
        other._setups, other._sizes = self._setups, self._sizes
        other._reference = self._reference or self
        return other

    def adopt(self, arm: Arm) -> None:
        """Take an arm that was decided elsewhere, such as a recorded one, for its variant."""
        self._made[arm.variant] = arm

    def _decide(self, variant: str, resolved: Resolved) -> Arm:
        match = self.experiment.match
        try:
            setup = self._setup(resolved)
            if match is None or (variant == self.experiment.baseline and self._as_it_was(setup)):
                return self._budgeted(arm_of_setup(variant, setup))
            if setup.delta() == self._baseline().delta():  # it is the baseline, under a name of its own
                return self._budgeted(arm_of_setup(variant, setup))
            knob, given = knob_of(match, resolved), dict(self.overrides.leaves())
            if knob in given and resolved.layer.origin(knob) == self.overrides.origin(knob):  # they fit this variant
                return self._budgeted(replace(arm_of_setup(variant, setup), note=f"not matched: {knob} was given"))
            return self._budgeted(self._matched(match, setup, knob))
        except BuildError as error:  # a part's own mistake: where and what, without a traceback
            raise UserError(str(error)) from error

    def _budgeted(self, arm: Arm) -> Arm:
        """With its step count, where the budget says it, and its identity."""
        budget = arm.resolved.budget
        if budget.unit == "seconds":
            return replace(arm, identity=arm_of(arm.setup.delta(), {"seconds": float(budget.amount)}))
        amount = budget.amount
        if isinstance(amount, str):  # as many training FLOPs as that variant
            other = self.other(amount)
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
        return replace(arm, steps=steps, identity=arm_of(arm.setup.delta(), {"steps": steps}))

    def _setup(self, resolved: Resolved) -> Setup:
        """Data of one tokenizer, corpus and padding are prepared once and shared by variants."""
        key = repr([resolved.tokenizer.to_node(), resolved.corpus.to_node(), resolved.data.multiple])
        if key in self._setups:
            return self._setups[key].under(resolved)
        self._setups[key] = Setup.prepare(self.registry, resolved, self.progress)
        return self._setups[key]

    def _matched(self, match: Match, setup: Setup, knob: str) -> Arm:
        """With the size knob turned until it is as large or as expensive as the baseline."""
        timing, note, variant, run = None, "", setup.resolved.variant, setup.resolved.run
        if match.by == "time":
            if (processes := run.nproc * run.nnodes) > 1:
                raise UserError(
                    f"match.time of variant '{variant}': steps are measured in one process, and this run has "
                    f"{processes}; expected match.params or match.flops"
                )
            results = Path(run.results) if self._results is None else self._results
            kept = Timings(results, self.experiment.name)
            pairs = self._pairs if self._measure else None
            timing, note = timed(match, setup, self._baseline(), knob, kept, pairs)
            value = timing.value
        else:
            asked = question(setup.resolved, self._baseline().resolved, knob, match.within)
            if asked not in self._sizes:
                self._sizes[asked] = counted(match, setup, self._baseline(), knob)
            value = self._sizes[asked]
        arm = arm_of_setup(variant, at_default(setup, turned(setup, knob, value), knob), f"{knob} = {value}")
        return replace(arm, timing=timing, note=note)

    def _pairs(self, arm: Arm, baseline: Arm) -> Generator[tuple[float, float], None, None]:
        if self._measure is not None:
            self._measure(f"measuring {arm.variant} beside {baseline.variant}: {arm.matched}")
        return measure.pairs(arm, baseline, self.experiment.seeds[0])

    def _baseline(self) -> Setup:
        """What sizes are matched to: the baseline under those overrides that fit it."""
        if self._reference is not None:
            return self._reference._baseline()
        if self._target is None:
            self._target = self._setup(self._fitted(self.experiment.baseline))
        return self._target

    def _as_it_was(self, setup: Setup) -> bool:
        """Whether the baseline, so set up, is as large and as expensive as what sizes are matched to."""
        if self._reference is None:
            return True
        mine, its = (arm_of_setup("", one) for one in (setup, self._baseline()))
        return (mine.parameters, mine.flops_per_step) == (its.parameters, its.flops_per_step)

    def other(self, variant: str) -> Arm:
        """The arm of a variant that another one refers to, under those overrides that fit it; errors as in `arm`."""
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


def recorded_arms(
    record: Record,
    registry: Registry,
    results: Path,
    origin: str,
    progress: Callable[[str, int], None] = lambda split, done: None,
) -> tuple[Arms, Arm]:
    """The arm of a recorded run whose results go below `results`, and an experiment that has it alone. origin: where
    the record is, for messages. Raises UserError where the record lacks what is needed, or a part, a setting or a
    corpus that it names is no longer there."""
    steps = record.info.get("steps")
    if not record.config or not isinstance(steps, int):
        raise UserError(f"{origin}: no settings or steps recorded; expected a line that lllm wrote")
    execution: dict[str, Any] = {"results": str(results)}
    resolved = restore(record.experiment, record.variant, record.config, execution, registry, origin)
    arm = arm_of_setup(record.variant, Setup.prepare(registry, resolved, progress))
    budget: dict[str, int | float] = {"steps": steps}
    if resolved.budget.unit == "seconds":
        budget = {"seconds": float(resolved.budget.amount)}
    arm = replace(arm, steps=steps, identity=arm_of(arm.setup.delta(), budget))
    alone = Experiment(
        name=record.experiment,
        path=Path(origin),
        hypothesis=f"{record.name}, trained again, gives the recorded numbers.",
        composition=Tree(),
        variants={record.variant: Tree()},
        baseline=record.variant if record.info.get("baseline") else "",
        seeds=(record.seed,),
    )
    arms = Arms(alone, Tree(), registry, progress)
    arms.adopt(arm)
    return arms, arm
