"""`lllm sweep --search`: the plan, the sweep, the Pareto front, and its winners against the baseline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

from lllm.cli.conclude import conclude
from lllm.cli.output import print_table
from lllm.cli.progress import measuring
from lllm.cli.sweep.served import Sweep, confirm, served
from lllm.cli.tuned import annotated
from lllm.config import load_experiment
from lllm.errors import UserError
from lllm.launch.arms import Arms
from lllm.launch.measure import matmul_rate, seconds_of
from lllm.launch.plan import make_plan
from lllm.launch.refusals import refuse_crowd, refuse_metric
from lllm.registry.build import blaming
from lllm.results.table import duration
from lllm.search.composable import composables
from lllm.search.compositions import Searching
from lllm.search.objectives import USUAL, Objective, objectives
from lllm.search.pareto import facts, importance_lines, rows, said, write_pareto
from lllm.search.space import Dimension, written
from lllm.search.studies import reason_of
from lllm.search.trials import Trials
from lllm.search.tunable import among, refuse_given
from lllm.search.winners import write_winners

__all__ = ["search_compositions"]

_STUDY = "search"  # the last part of the study's name


def search_compositions(
    asked: Sweep,
    found: dict[str, Any],
    goals: Sequence[str] | None,
    by: Literal["tpe", "nsga2"] | None,
    most: int,
    seeds: Sequence[int] | None,
    dry_run: bool,
) -> bool:
    """Search, and confirm up to `most` winners; False when nothing came of it, or a run failed.

    found: what a script is to have. goals: objectives of the command line; by: the sampler, None: what fits; seeds: of
    the confirmation, None for none. Raises as `tune` does.
    """
    base, rule = _base(asked), asked.experiment.decide
    with blaming(asked.arms.registry):
        resolved = asked.arms.resolved(base)
        dimensions = composables(asked.experiment.search, resolved)
        for one in dimensions:
            refuse_given(one.path, asked.arms.overrides)
        borrowed, baseline = resolved.budget.variant, asked.experiment.baseline
        if borrowed not in (None, baseline):  # of the budget; the winners' experiment has the baseline alone
            raise UserError(
                f"--search: budget.flops = '{borrowed}': the winners stand beside '{baseline}' alone; expected a "
                "number, as in budget='{bytes: 1MB}'"
            )
        declared = objectives(asked.experiment.search.objectives, [resolved], rule)
        aims = objectives(goals, [resolved], rule) if goals else declared
        aims = aims or objectives([rule.metric, *USUAL[1:]], [resolved], rule)
        arm = asked.arms.arm(base)
        refuse_crowd([arm], asked.workers)
        if not {"model.head", "corpus"} & {one.path for one in dimensions}:  # another head may measure other things
            for aim in aims:
                refuse_metric(arm, aim.name, "objective")
    found |= _plan(asked, base, dimensions, aims, most, seeds)
    if dry_run:
        print("no trial is begun, and nothing is written")
        return True
    trials = Trials(asked.arms, asked.words, asked.plugins, asked.seed, apart=True)
    search = Searching(trials, base, dimensions, aims, asked.open(), asked.name or _STUDY, asked.trials, by)
    if search.complete:
        print("the search is complete; nothing of it is trained again")
    elif not served(asked, found, search.jobs(), lambda: asked.trials):
        return True
    found["complete"] = True
    if not _show(asked, search, found):
        why = reason_of(search.study)
        print(f"no trial came to a result{why and f' ({why})'}", file=sys.stderr)
        return False
    return True if seeds is None else _confirmed(asked, search, found, most, seeds)


def _base(asked: Sweep) -> str:
    """The variant that compositions set out from."""
    if len(asked.named) > 1:
        raise UserError(
            f"--search: sets out from one variant, and {len(asked.named)} are named, {', '.join(asked.named)}; "
            "expected one of them"
        )
    return asked.named[0] if asked.named else asked.experiment.baseline


def _plan(
    asked: Sweep,
    base: str,
    dimensions: Sequence[Dimension],
    aims: Sequence[Objective],
    most: int,
    seeds: Sequence[int] | None,
) -> dict[str, Any]:
    """Print what the search is going to cost, and return it as plain values."""
    arm, experiment = asked.arms.arm(base), asked.experiment
    each = seconds_of(arm, matmul_rate())
    total = asked.trials * each / asked.workers
    print(f"{experiment.name}: {experiment.hypothesis}")
    rows = [[one.parameter, among(one), "" if one.when is None else f"with {one.when[1]}"] for one in dimensions]
    print_table(["what is searched", "among", "there"], rows)
    print(f"objectives: {', '.join(f'{one.name} ({one.better} is better)' for one in aims)}")
    if any("second" in one.name for one in aims) and asked.workers > 1:
        print(f"speeds are measured while {asked.workers} runs share the machine")
    steps = "measured" if arm.steps is None else arm.steps
    print(
        f"{asked.trials} trials from {base}, {steps} steps each, at seed {asked.seed}; about {duration(total)} in all, "
        f"{asked.workers} at once, if they cost what {base} costs; {asked.storage_said}"
    )
    again = 0.0 if seeds is None else (most + 1) * len(seeds) * each / asked.workers
    if seeds is not None:
        listed = ",".join(map(str, seeds))
        print(f"then up to {most} winners and {experiment.baseline} at seeds {listed}: about {duration(again)}")
    return {
        "experiment": experiment.name,
        "mode": "search",
        "base": base,
        "storage": asked.storage_said,
        "search_seed": asked.seed,
        "confirm_seeds": None if seeds is None else list(seeds),
        "trials": asked.trials,
        "estimated_seconds": {"search": total, "confirmation": again},
        "space": written(dimensions),
        "objectives": {one.name: one.better for one in aims},
    }


def _show(asked: Sweep, search: Searching, found: dict[str, Any]) -> bool:
    """Print and write the Pareto front; whether there is one."""
    told = facts(search)
    found["pareto"] = told
    headers, cells = rows(told)
    print(f"\n{said(told)}")
    if cells:
        print_table(headers, cells, right=range(len(headers) - 1))
    for line in importance_lines(told):
        print(line)
    print(f"written: {write_pareto(asked.results / asked.experiment.name, told, asked.name)}")
    return bool(cells)


def _confirmed(asked: Sweep, search: Searching, found: dict[str, Any], most: int, seeds: Sequence[int]) -> bool:
    """Train the winners and the baseline on fresh seeds, as an experiment of their own, and show its table."""
    experiment = asked.experiment
    winners = _different(asked, search, most)
    if not winners:
        print(f"the front is {experiment.baseline} itself: there is nothing to confirm")
        return True
    name = f"{experiment.name}-{asked.name or _STUDY}"
    path = write_winners(
        asked.results / name / f"{name}.yaml",
        experiment,
        asked.arms.overrides,
        search.base,
        winners,
        seeds,
        f"The best of {asked.trials} compositions, found at seed {asked.seed}, are better than {experiment.baseline} "
        "on fresh seeds as well.",
    )
    print(f"written: {path}")
    found["winners"] = {"path": str(path), "fields": winners}
    again = load_experiment(str(path))
    arms = Arms(again, asked.arms.overrides, asked.arms.registry, asked.arms.progress, measure=measuring)
    plan = make_plan(arms, list(again.variants), list(seeds), plugins=asked.plugins)
    tuned = {name: {"tuned": {"trials": asked.trials, "fields": dict(fields)}} for name, fields in winners.items()}
    plan = annotated(plan, lambda variant: tuned.get(variant, {}))  # nothing of the baseline
    fine = confirm(plan, found)
    found |= conclude(plan, arms, list(again.variants), [])
    return fine


def _different(asked: Sweep, search: Searching, most: int) -> dict[str, dict[str, Any]]:
    """The winners that are not the baseline: name -> fields over the base."""
    baseline = asked.arms.resolved(asked.experiment.baseline).delta()
    fields = {name: search.fields(trial) for name, trial in search.winners(most).items()}
    return {name: some for name, some in fields.items() if search.trials.settings(search.base, some) != baseline}
