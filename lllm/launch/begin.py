"""How a planned run begins: with the steps that its budget comes to, in a fresh directory or the one that is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lllm.errors import UserError
from lllm.identity import checkpoint_identity
from lllm.launch.machine import machine_of_run, threads_of
from lllm.launch.measure import measured_steps, with_threads
from lllm.launch.plan import Plan, Planned
from lllm.results.ownership import own
from lllm.results.run import Run, create, retire, retire_damaged
from lllm.results.sources import keep_sources
from lllm.train.checkpoint import is_strange

__all__ = ["begin", "measured", "timed"]


def timed(plan: Plan, say: Callable[[str], None]) -> Plan:
    """The plan, in which all pending runs have their steps: one that is measured while others train would have fewer
    than they. say: told of each arm that is measured. Errors as in `measured_steps`."""
    found: dict[str, int] = {}
    runs = []
    for run in plan.runs:
        arm = run.arm
        if run.pending and run.todo != "continue" and arm.steps is None:
            if arm.identity not in found:
                say(f"measuring a step of {arm.variant}")
                found[arm.identity] = measured(run)
            arm = replace(arm, steps=found[arm.identity])
        runs.append(replace(run, arm=arm))
    return replace(plan, runs=tuple(runs))


def measured(run: Planned) -> int:
    """Steps that fit into the budget: as many as another seed of the arm has that was begun on such a machine, so that
    a row's seeds are trained alike; measured, where there is none. Errors as in `measured_steps`."""
    on, now = machine_of_run(run.arm.resolved), run.arm.fingerprints
    for path in sorted(run.path.parent.glob("s*")):
        with suppress(UserError):  # a damaged one says nothing
            there = Run(path).info
            alike = there.get("machine") == on and there.get("fingerprints") == now and not there.get("trial")
            if alike and "steps" in there:
                return int(there["steps"])
    with with_threads(threads_of(run.arm.resolved)):
        return measured_steps(run.arm, run.seed)


def begin(plan: Plan, run: Planned, **execution: Any) -> dict[str, Any] | None:
    """The run's run.json, written; None when it is finished already, for another process may have taken it since the
    plan was made. What is stale, forced or damaged is moved away first. execution: as in `Plan.info`.

    Raises:
        Owned: another process trains it.
    """
    found = _found(run)
    if run.todo == "train anew" and found is not None and not _renewed(run, found):
        reason = run.why.partition("; ")[0].removeprefix("stale: ")
        retire(run.path, "stale" if run.why.startswith("stale") else "forced", reason)
        found = None
    if found is None:
        steps = run.arm.steps if run.arm.steps is not None else measured(run)
        info = plan.info(run, steps, **execution)
    elif Run(run.path).finished:
        return None
    else:
        info = _continued(found, plan.info(run, int(found["steps"]), **execution))
    create(run.path, info)
    keep_sources(run.path, info["parts"])
    return info


def _found(run: Planned) -> dict[str, Any] | None:
    """The run.json that is there, when nobody is at work on it; what cannot be read makes room."""
    if not run.path.exists():
        return None
    with own(run.path):
        pass
    retire_damaged(run.path)
    there = Run(run.path)
    return there.info if (run.path / "run.json").is_file() and there.arm == run.arm.identity else None


def _renewed(run: Planned, found: dict[str, Any]) -> bool:
    """Whether what was stale when the plan was made has been begun anew by another process."""
    now, then = run.arm.fingerprints, found["fingerprints"]
    same = all(then.get(name) == now[name] for name in ("code", "data", "platform"))
    return run.why.startswith("stale") and same and not is_strange(run.path / "checkpoint", checkpoint_identity(found))


def _continued(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What defines the run as it was begun; how it executes as it is asked for now."""
    execution = new["config"]["execution"]
    if old["config"]["execution"].get("shared_timing"):  # once is enough to make its timings doubtful
        execution["shared_timing"] = True
    return {**old, "config": {**old["config"], "execution": execution}}
