"""What a command will do, decided and shown before any time is spent."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lllm.config import Experiment, Resolved
from lllm.errors import UserError
from lllm.identity import checkpoint_identity, code_fingerprint
from lllm.launch.arms import Arm, Arms
from lllm.launch.machine import environment, git_state, machine_of_run
from lllm.launch.refusals import refuse_rule
from lllm.openmp import variables
from lllm.registry.build import blaming
from lllm.results.committed import load_records
from lllm.results.effects import twins
from lllm.results.files import explained
from lllm.results.grouping import Expected
from lllm.results.records import Record
from lllm.results.rule import rule_of
from lllm.results.run import Run, check_writable, run_path
from lllm.train import checkpoint
from lllm.train.recheck import changes, platform_changed
from lllm.train.world import refuse_device, refuse_dtype

__all__ = ["Plan", "Planned", "arguments", "expected", "make_plan", "rule_of"]

_STORAGE = "--storage"
_PASSWORD = re.compile(r"(://[^:@/?]*:).*(?=@)|(?<=password=)[^&]*")

Todo = Literal["train", "continue", "train anew", "finished", "failed", "running"]


@dataclass(frozen=True)
class Planned:
    """One run. todo: what will be done; why: what a user must know about it ('KIND/NAME changed').
    elsewhere: it is finished, but only its committed numbers are here. extra: what its run.json records of it, beside
    what defines it."""

    arm: Arm
    seed: int
    path: Path
    todo: Todo
    why: str = ""
    elsewhere: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """VARIANT/sSEED."""
        return f"{self.arm.variant}/s{self.seed}"

    @property
    def pending(self) -> bool:
        return self.todo in ("train", "continue", "train anew")


@dataclass(frozen=True)
class Plan:
    """Runs in the order in which they will be trained. label: what --as calls them; extra: what run.json records of all
    of them; arms: by which they were decided."""

    experiment: Experiment
    runs: tuple[Planned, ...]
    results: Path
    plugins: tuple[str, ...] = ()
    label: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    arms: Arms | None = None

    @property
    def pending(self) -> list[Planned]:
        return [run for run in self.runs if run.pending]

    @property
    def against(self) -> str:
        """The arm of the baseline under the same overrides, '' where that cannot be told."""
        if self.arms is not None and self.experiment.baseline in self.experiment.variants:
            with suppress(UserError):
                return self.arms.other(self.experiment.baseline).identity
        return ""

    def info(self, run: Planned, steps: int, **execution: Any) -> dict[str, Any]:
        """run.json of one of the runs. execution: what this machine adds to the settings that only say how."""
        arm, resolved, rule = run.arm, run.arm.resolved, rule_of(self.experiment)
        _, parts = code_fingerprint(arm.used)
        return {
            "experiment": self.experiment.name,
            "variant": arm.variant,
            "baseline": arm.variant == self.experiment.baseline,
            "name": self.label,
            "arm": arm.identity,
            "seed": run.seed,
            "config": {
                "semantic": resolved.semantic(),
                "execution": {**resolved.execution(), "plugins": list(self.plugins), **execution},
            },
            "fingerprints": arm.fingerprints,
            "parts": parts,
            "steps": steps,
            "budget": resolved.budget.model_dump(exclude_none=True),
            "rule": rule.written(),
            "sizes": {
                "parameters": arm.parameters,
                "train_flops_per_byte": arm.flops_per_step / arm.bytes_per_step,
                "bytes_per_step": arm.bytes_per_step,
                "matched": arm.matched,
                **({"timing": asdict(arm.timing)} if arm.timing else {}),
            },
            "kernels": {f"{e.kind}/{e.name}": e.cls.kernel for e in arm.used if hasattr(e.cls, "kernel")},
            "git": git_state(),
            "environment": {**environment(), **variables()},
            "argv": arguments(),
            "machine": machine_of_run(resolved),
            "planned": sorted({planned.seed for planned in self.runs}),
            "family": list(rule.family),
            "against": self.against,
            **self.extra,
            **run.extra,
        }


def arguments() -> list[str]:
    """The words of the command line, as they may be shown and kept: without the password of a storage."""
    words = sys.argv[1:]
    pairs = zip(["", *words], words, strict=False)
    return [
        _PASSWORD.sub(r"\1***", word) if before == _STORAGE or word.startswith(f"{_STORAGE}=") else word
        for before, word in pairs
    ]


def expected(arms: Arms, variants: Sequence[str], seeds: Sequence[int]) -> list[Expected]:
    """What a table of these variants expects to find."""
    experiment = arms.experiment
    with blaming(arms.registry):
        decided = [arms.known(variant) for variant in variants]
    return [
        Expected(
            variant=arm.variant,
            arm=arm.identity,
            baseline=arm.variant == experiment.baseline,
            rule=rule_of(experiment),
            seeds=tuple(seeds),
            fingerprints={k: v for k, v in arm.terms.items() if k != "arm"},
            config=arm.resolved.semantic(),
            parts={
                name: {key: part[key] for key in ("digest", "version")}  # whatever place its file lies at
                for name, part in code_fingerprint(arm.used)[1].items()
            },
        )
        for arm in decided
    ]


def make_plan(
    arms: Arms,
    variants: Sequence[str],
    seeds: Sequence[int],
    *,
    plugins: Sequence[str] = (),
    label: str | None = None,
    force: bool = False,
    keep_stale: bool = False,
) -> Plan:
    """Decide every run: seeds in the outer order, so that an interrupted study has whole columns first.

    Raises:
        UserError: one cannot be built, a part of it raises while it is counted, two of a design are one arm, or what is
            to be trained cannot be trained on this machine or written.
    """
    with blaming(arms.registry):
        settings = [arms.resolved(variant) for variant in variants]
    results, experiment = Path(settings[0].run.results), arms.experiment
    with explained(results):
        check_writable(results)
    known: dict[tuple[str, str, int], Record] = {}
    for record in load_records(results, experiment.name):
        if not record.aside and record.state != "deleted":
            known[record.variant, record.arm[:8], record.seed] = record
    begun = {variant for variant, _, _ in known}
    for variant, resolved in zip(variants, settings, strict=True):
        if variant not in begun:  # certainly to be trained: refused before its data are prepared
            _refuse_here(resolved)
    with blaming(arms.registry):
        decided = [arms.arm(variant) for variant in variants]
    design = rule_of(experiment).design
    if design and (told := twins(design, {arm.variant: arm.identity for arm in decided})):
        raise UserError(f"{experiment.path}: stack: {told}; expected deltas that each change what is trained")
    for arm in decided:
        refuse_rule(arm, experiment.decide)
    decided = _told_apart(decided)
    runs = []
    for seed in seeds:
        for arm in decided:
            path = run_path(results, experiment.name, arm.variant, arm.identity, seed)
            run = Planned(arm, seed, path, "train")
            found = known.get((arm.variant, arm.identity[:8], seed))
            if found is not None and arm.identity.startswith(found.arm):
                run = _after(run, found, force, keep_stale)
            runs.append(replace(run, why="; ".join(filter(None, (run.why, arm.note)))))
            if runs[-1].pending:
                _refuse_here(arm.resolved)
    return Plan(experiment, tuple(runs), results, tuple(plugins), label, arms=arms)


def _after(run: Planned, record: Record, force: bool, keep_stale: bool) -> Planned:
    """What is to be done about a run of which something is there already."""
    if record.path is None and record.state not in ("finished", "diverged"):  # a line that says no more than that
        return run
    run = replace(run, elsewhere=record.path is None)
    if record.state == "running":
        owner = Run(run.path).status or {}
        who = f"process {owner['pid']} on {owner.get('host')}" if owner.get("pid") else "another process"
        return replace(run, todo="running", why=record.reason or f"{who} trains it")
    if record.state == "damaged":
        return replace(run, todo="train anew", why=record.reason)
    changed = ", ".join(changes(record.info, run.arm.used, run.arm.setup.dataset.fingerprint))
    place, other = run.path / "checkpoint", platform_changed(record.info)
    if record.state not in ("finished", "failed", "empty"):  # there is, or may be, something to go on from
        strange = not changed and checkpoint.is_strange(place, checkpoint_identity(record.info))
        changed = changed or other or ("its checkpoint is of other code or data" if strange else "")
    if changed and not (keep_stale and record.state == "finished"):  # no run resumes across an edit
        return replace(run, todo="train anew", why=f"stale: {changed}")
    if force:
        return replace(run, todo="train anew", why="--force")
    if record.state == "finished":
        return replace(run, todo="finished", why=f"kept although stale: {changed}" if changed else other)
    if record.state in ("failed", "diverged"):
        return replace(run, todo="failed", why=f"{record.reason}; --force trains it anew")
    if record.state == "empty":
        return run
    return replace(run, todo="continue", why=checkpoint.damage(place))


def _told_apart(arms: Sequence[Arm]) -> list[Arm]:
    """Arms with a note on each that is another one under a name of its own."""
    first: dict[str, str] = {}
    found = []
    for arm in arms:
        name = first.setdefault(arm.identity, arm.variant)
        same = "" if name == arm.variant else f"{arm.variant} is the same model as {name}"
        found.append(replace(arm, note="; ".join(filter(None, (arm.note, same)))))
    return found


def _refuse_here(resolved: Resolved) -> None:
    """Raises UserError for what can be told to fail on this machine."""
    execution, budget = resolved.run, resolved.budget
    refuse_device(execution.device, resolved.train.precision)
    refuse_dtype()
    if budget.unit == "seconds" and execution.nproc * execution.nnodes > 1:
        raise UserError(
            f"budget.seconds = {budget.amount}: steps are measured in one process, and this run has "
            f"{execution.nproc * execution.nnodes}; expected budget.steps, bytes or flops"
        )
