"""The steps of a budget of seconds: measured before anything trains, the same for all seeds of an arm."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from lllm.errors import UserError
from lllm.launch.machine import machine_of_run, threads_of
from lllm.launch.measure import measured_steps, with_threads
from lllm.launch.plan import Plan, Planned
from lllm.results.run import Run

__all__ = ["measured", "timed"]


def timed(plan: Plan, say: Callable[[str], None]) -> Plan:
    """The plan, in which all pending runs have their steps: one that is measured while others train would have fewer
    than they. say: told of each arm that is measured.

    Raises:
        UserError: a part raises in a step, or the device has not enough memory.
    """
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
    a row's seeds are trained alike; measured, where there is none. Errors as in `timed`."""
    on, now = machine_of_run(run.arm.resolved), run.arm.fingerprints
    for path in sorted(run.path.parent.glob("s*")):
        with suppress(UserError):  # a damaged one says nothing
            there = Run(path).info
            alike = there.get("machine") == on and there.get("fingerprints") == now and not there.get("trial")
            if alike and "steps" in there:
                return int(there["steps"])
    with with_threads(threads_of(run.arm.resolved)):
        return measured_steps(run.arm, run.seed)
