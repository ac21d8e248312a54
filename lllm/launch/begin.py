"""How a planned run begins on disk: a fresh directory, or the one that is there, looked at once more."""

from __future__ import annotations

from typing import Any

from lllm.identity import checkpoint_identity
from lllm.launch.plan import Plan, Planned
from lllm.launch.steps import measured
from lllm.results.ownership import own
from lllm.results.run import Run, create, retire, retire_damaged
from lllm.results.sources import keep_sources
from lllm.train.checkpoint import is_strange

__all__ = ["begin"]


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
