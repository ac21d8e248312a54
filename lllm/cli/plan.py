"""The plan before a run, and the closing words after it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lllm.cli.output import print_table
from lllm.errors import UserError
from lllm.launch.measure import matmul_rate, seconds_of
from lllm.launch.plan import Plan, Planned
from lllm.results.find import find_run
from lllm.results.run import Run
from lllm.results.table import duration, si
from lllm.results.verdict import OVERLAP

__all__ = ["plan_facts", "print_next", "print_plan", "print_samples"]

_COLUMNS = ("run", "arm", "to do", "ratio", "parameters", "steps", "bytes", "FLOPs", "FLOPs/byte", "about", "note")
_LEFT_OUT = ("arm", "FLOPs/byte", "ratio", "bytes", "FLOPs", "parameters")  # first to last, where it is too narrow
_BY = {"params": "parameters", "flops": "training FLOPs per byte", "time": "measured time per byte"}
_SAMPLE = 100  # characters of a sample that are shown


def plan_facts(plan: Plan) -> dict[str, Any]:
    """The plan as plain values; `plan` has a mapping per run: its arm and size, what is to be done, what it will cost.

    state is one of cached, stale, to run, failed, running; todo and why say more. estimated_seconds is None where
    nothing is to be trained; timing is what was measured where sizes are matched by time; steps, bytes and flops are
    None where a budget of seconds has not been measured yet.
    """
    experiment, timed = plan.experiment, _timed(plan)
    rate = matmul_rate() if plan.pending else 1.0  # measured only where something is to be trained
    return {
        "experiment": experiment.name,
        "hypothesis": experiment.hypothesis,
        "baseline": experiment.baseline,
        "name": plan.label,
        "data": _made(plan),
        "overlap": _overlap(plan)[2],
        "results": str(plan.results),
        "replaced": _replaced(plan),
        "plan": [_planned(run, rate, timed) for run in plan.runs],
    }


def print_plan(plan: Plan, planned: Sequence[Mapping[str, Any]]) -> None:
    """Variants, sizes after matching, budget, what is cached, estimated time. planned: of `plan_facts`."""
    experiment = plan.experiment
    first = plan.runs[0].arm.resolved
    print(f"{experiment.name}: {experiment.hypothesis}")
    print(f"data: {_made(plan)}; {first.data.context} tokens x {first.train.batch} rows")
    inside, documents, share = _overlap(plan)
    much = f"; above {OVERLAP:.0%}: no verdict is possible" if share > OVERLAP else ""
    print(f"overlap: {inside} of {documents} evaluated documents ({share:.1%} of the bytes) are in training{much}")
    drop = [_COLUMNS.index(header) for header in _LEFT_OUT]
    print_table(_COLUMNS, [_row(run) for run in planned], right=range(3, 10), drop=drop)
    for line in [*_matched(plan), *_replaced(plan)]:
        print(line)
    pending = plan.pending
    cached = len([run for run in plan.runs if run.todo == "finished"])
    total = sum(run["estimated_seconds"] or 0.0 for run in planned)
    execution = first.run
    print(
        f"{len(pending)} to train, {cached} finished; about {duration(total / execution.workers)} of training, "
        f"{execution.workers} at once, {execution.nproc * execution.nnodes} process(es) each"
    )


def _made(plan: Plan) -> str:
    """What the first run's data were made from."""
    return str(plan.runs[0].arm.setup.dataset.info["made"])


def _overlap(plan: Plan) -> tuple[int, int, float]:
    """The largest of the runs' data: see `Setup.overlap`."""
    return max((run.arm.setup.overlap for run in plan.runs), key=lambda found: found[2])


def _matched(plan: Plan) -> list[str]:
    """What was made equal to the baseline and how; measured sizes one by one, with what was measured."""
    match, arms = plan.experiment.match, {run.arm.variant: run.arm for run in plan.runs if run.arm.matched}
    if match is None or not arms:
        return []
    said = f"matched to {plan.experiment.baseline} within {match.within:.1%}, by {_BY[match.by]}"
    sizes = [f"{arm.variant}: {arm.matched}" for arm in arms.values()]
    if match.by != "time":
        return [f"{said}: {', '.join(sorted(sizes))}"]
    return [
        f"{said}:",
        *(f"  {size}, {arm.timing.sentence}" for size, arm in zip(sizes, arms.values(), strict=True) if arm.timing),
    ]


def _replaced(plan: Plan) -> list[str]:
    """What of these runs is not as shipped: parts from a file of the working directory that stands in for one."""
    local = {str(path): str(shipped) for shipped, path in plan.runs[0].arm.resolved.registry.replaced.items()}
    used = {f"{entry.kind}/{entry.name}": str(entry.path) for run in plan.runs for entry in run.arm.used}
    return [f"{name}: {path}, in place of the shipped {local[path]}" for name, path in used.items() if path in local]


def _timed(plan: Plan) -> dict[str, float]:
    """Variant -> seconds of a step, where sizes were matched by measuring them."""
    timed = {run.arm.variant: run.arm.timing for run in plan.runs if run.arm.timing}
    seconds = {variant: timing.seconds for variant, timing in timed.items()}
    for timing in timed.values():
        seconds[plan.experiment.baseline] = timing.baseline_seconds
    return seconds


def _planned(run: Planned, rate: float, timed: Mapping[str, float]) -> dict[str, Any]:
    arm, steps = run.arm, run.arm.steps
    return {
        "run": run.name,
        "variant": arm.variant,
        "arm": arm.identity,
        "seed": run.seed,
        "path": str(run.path),
        "state": _state(run),
        "todo": run.todo,
        "why": run.why,
        "ratio": arm.resolved.model.ratio,
        "parameters": arm.parameters,
        "matched": arm.matched,
        "steps": steps,
        "bytes": steps * arm.bytes_per_step if steps is not None else None,
        "flops": steps * arm.flops_per_step + arm.stage_flops if steps is not None else None,
        "flops_per_byte": arm.flops_per_step / arm.bytes_per_step,
        "estimated_seconds": seconds_of(arm, rate, timed.get(arm.variant)) if run.pending else None,
        "timing": asdict(arm.timing) if arm.timing else None,
    }


def _state(run: Planned) -> str:
    """The one word that a script asks for."""
    if run.todo == "train anew" and run.why.startswith("stale"):
        return "stale"
    return "to run" if run.pending else {"finished": "cached"}.get(run.todo, run.todo)


def _row(run: Mapping[str, Any]) -> list[str]:
    steps = run["steps"]
    return [
        run["run"],
        run["arm"][:8],
        run["todo"],
        f"{run['ratio']}:1",
        si(run["parameters"]),
        str(steps) if steps is not None else "measured",
        si(run["bytes"]),
        si(run["flops"]),
        si(run["flops_per_byte"]),
        duration(run["estimated_seconds"]),
        run["why"],
    ]


def print_samples(plan: Plan) -> None:
    """One short sample of each finished variant, of its first seed."""
    shown: set[str] = set()
    for run in plan.runs:
        file = run.path / "samples.jsonl"
        if run.arm.variant in shown or not file.is_file():
            continue
        lines = file.read_text(encoding="utf-8").splitlines()
        if lines:
            shown.add(run.arm.variant)
            text = json.loads(lines[-1])
            print(f"{run.arm.variant:>16}: {_quoted(text['prompt'])} -> {_quoted(text['text'])}")


def _quoted(text: str) -> str:
    short = text if len(text) <= _SAMPLE else text[:_SAMPLE] + "..."
    return json.dumps(short, ensure_ascii=False)


def print_next(plan: Plan, words: Sequence[str] = ()) -> None:
    """Commands worth trying, each with its reason. words: settings of the command line, plugins included."""
    lines = _suggestions(plan, words)
    widest = max(len(command) for command, _ in lines)
    print("next:")
    for command, reason in lines:
        print(f"  {command:<{widest}}  # {reason}")


def _suggestions(plan: Plan, words: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of a command and what it is good for."""
    name, path = plan.experiment.name, plan.experiment.path
    if path.parent.name != "experiments":  # it is not known by its name
        name = os.path.relpath(path)
    elsewhere = plan.results != Path("results")
    where = f" --results {shlex.quote(str(plan.results))}" if elsewhere else ""
    finished = [run for run in plan.runs if Run(run.path).finished]
    found = []
    if finished and len({run.seed for run in plan.runs}) < 3:
        label = ["--as", plan.label] if plan.label else []
        again = shlex.join(["lllm", "run", name, *words, "--seeds", "0,1,2", *label])
        found.append((again, "how much of a difference is luck"))
    elif finished:
        rows = f" --as {plan.label}" if plan.label else ""
        found.append((f"lllm report {name}{rows}{where}", "these rows as a page with figures"))
        if len(plan.experiment.variants) > 1 and not any(run.extra.get("tuned") for run in plan.runs):
            sweep = shlex.join(["lllm", "sweep", name, *words])
            found.append((sweep, "tune each variant alike before a difference is believed"))
    if finished:
        found.append((f'lllm generate {_named(plan, finished[-1])} --prompt "def "{where}', "let it write"))
    variant = (finished or plan.runs)[-1].arm.variant
    return [*found, (f"lllm show {name} {variant}", "what it is made of and what each part costs")]


def _named(plan: Plan, run: Planned) -> str:
    """The shortest name that means this run and no other."""
    short = f"{plan.experiment.name}/{run.name}"
    with suppress(UserError):
        if find_run(plan.results, short).path == Run(run.path).path:
            return short
    return f"{plan.experiment.name}/{run.arm.variant}/{run.path.parent.name}/{run.path.name}"
