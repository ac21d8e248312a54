"""The plan before a run, and the closing words after it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lllm.cli.output import print_table
from lllm.results.table import duration, si

if TYPE_CHECKING:
    from lllm.launch.plan import Plan, Planned

__all__ = ["print_next", "print_plan", "print_samples"]

_SAMPLE = 100  # characters of a sample that are shown


def print_plan(plan: Plan) -> None:
    """Variants, sizes after matching, budget, what is cached, estimated time."""
    experiment = plan.experiment
    first = plan.runs[0].arm.resolved
    print(f"{experiment.name}: {experiment.hypothesis}")
    print(
        f"data: {plan.runs[0].arm.setup.dataset.info['made']}; {first.data.context} tokens x {first.train.batch} rows"
    )
    rate = _rate(plan)
    rows = [_row(run, rate) for run in plan.runs]
    print_table(
        ["run", "arm", "to do", "ratio", "parameters", "steps", "bytes", "FLOPs", "FLOPs/byte", "about", "note"],
        rows,
        right=range(3, 10),
    )
    matched = sorted({f"{run.arm.variant}: {run.arm.matched}" for run in plan.runs if run.arm.matched})
    if matched and experiment.match:
        print(f"matched to {experiment.baseline} within {experiment.match.params:.1%}: {', '.join(matched)}")
    pending = plan.pending
    cached = len([run for run in plan.runs if run.todo == "finished"])
    total = sum(_seconds(run, rate) or 0.0 for run in pending)
    execution = first.run
    print(
        f"{len(pending)} to train, {cached} finished; about {duration(total / execution.workers)} in all, "
        f"{execution.workers} at once, {execution.nproc * execution.nnodes} process(es) each"
    )


def _rate(plan: Plan) -> float:
    """FLOPs per second to expect, measured only where something is to be trained."""
    from lllm.launch.measure import matmul_rate

    return matmul_rate() if plan.pending else 1.0


def _seconds(run: Planned, rate: float) -> float | None:
    if not run.pending:
        return None
    if run.arm.steps is None:
        return float(run.arm.resolved.budget.amount)
    return run.arm.steps * run.arm.flops_per_step / rate


def _row(run: Planned, rate: float) -> list[str]:
    arm, steps = run.arm, run.arm.steps
    return [
        run.name,
        arm.identity[:8],
        run.todo,
        f"{arm.resolved.model.ratio}:1",
        si(arm.parameters),
        str(steps) if steps is not None else "measured",
        si(steps * arm.bytes_per_step) if steps is not None else "-",
        si(steps * arm.flops_per_step) if steps is not None else "-",
        si(arm.flops_per_step / arm.bytes_per_step),
        duration(_seconds(run, rate)),
        run.why,
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


def print_next(plan: Plan) -> None:
    """Three commands worth trying."""
    name, last = plan.experiment.name, plan.runs[-1]
    print("next:")
    for line in _suggestions(name, last, len({run.seed for run in plan.runs})):
        print(f"  {line}")


def _suggestions(name: str, run: Planned, seeds: int) -> Sequence[str]:
    variant = run.arm.variant
    more = f"lllm run {name} --seeds 0,1,2" if seeds < 3 else f"lllm compare {name} --all"
    return [
        f"{more:<50} # {'how much of a difference is luck' if seeds < 3 else 'what else was run'}",
        f"{f'lllm generate {name}/{variant} --prompt {chr(34)}def {chr(34)}':<50} # let it write",
        f"{f'lllm show {name} {variant}':<50} # what it is made of and what each part costs",
    ]
