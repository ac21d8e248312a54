"""`lllm sweep`, tuning: the plan, the sweep, tuned.yaml, and the confirmation of the winners."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lllm.cli.conclude import conclude
from lllm.cli.output import print_table
from lllm.cli.sweep.served import Sweep, assigned, confirm, served
from lllm.cli.tuned import LABEL, OPTION, annotated
from lllm.errors import UserError
from lllm.launch.machine import threads_each
from lllm.launch.measure import matmul_rate, seconds_of
from lllm.launch.plan import make_plan
from lllm.launch.refusals import refuse_crowd, refuse_rule
from lllm.registry.build import blaming
from lllm.results.named import WORDS, recorded_words, semantic_words
from lllm.results.table import duration, si
from lllm.search.grid import MOST, ROUNDS
from lllm.search.space import written
from lllm.search.studies import reason_of, runs, states
from lllm.search.trials import Trials
from lllm.search.tunable import Tunable, tunables
from lllm.search.tune import Tuning
from lllm.search.winners import Tuned, Winner, tuned_path, with_tuned, write_tuned

__all__ = ["tune"]

_STUDY = "tune"  # the last part of the studies' names


def tune(asked: Sweep, found: dict[str, Any], all_fields: bool, seeds: Sequence[int] | None, dry_run: bool) -> bool:
    """Tune the variants and confirm the best of each; False when a variant has none, or a run failed.

    found: what a script is to have. seeds: of the confirmation, None for none.

    Raises:
        UserError: something that was asked for cannot be had. KeyboardInterrupt: the user stopped it.
    """
    with blaming(asked.arms.registry):
        spaces, notes = tunables(asked.arms, asked.variants, all_fields)
        _refuse_points(spaces, asked.trials)
        arms = [asked.arms.arm(variant) for variant in asked.variants]
        refuse_crowd(arms, asked.workers)
        for arm in arms:  # what a corpus or a head measures is known of a model only
            refuse_rule(arm, asked.experiment.decide)
    found |= _plan(asked, spaces, notes, seeds)
    if dry_run:
        print("no trial is begun, and nothing is written")
        return True
    trials = Trials(asked.arms, asked.words, asked.plugins, asked.seed)
    tuning = Tuning(trials, spaces, asked.open(), asked.name or _STUDY, asked.trials)
    if tuning.complete and not tuning.more():
        print("the sweep is complete; nothing of it is trained again")
    else:
        execution = asked.arms.resolved(asked.variants[0]).run
        threads = execution.threads or threads_each(asked.workers * execution.nproc)
        measured, now = trials.measure(tuning.studies, threads)
        for variant, one in measured.items():
            by = "measured" if variant in now else "measured by the first driver of the study"
            print(f"{by}: {one.steps} steps of {variant} fit into its budget ({one.on})")
        if not served(asked, found, tuning.jobs(), lambda: sum(job.target for job in tuning.jobs()), tuning.more):
            return True
    found["complete"] = True
    return _conclude(asked, tuning, found, seeds)


def _refuse_points(spaces: Sequence[Tunable], trials: int) -> None:
    """Raises UserError for more trials than a grid has points."""
    if spaces[0].grid and trials > MOST:
        raise UserError(
            f"--trials {trials}: a grid of powers of two has at most {MOST} points; expected fewer, or a search block "
            "with a range of train.lr"
        )


def _plan(asked: Sweep, spaces: Sequence[Tunable], notes: Sequence[str], seeds: Sequence[int] | None) -> dict[str, Any]:
    """Print what the sweep is going to cost, and return it as plain values."""
    rate, experiment = matmul_rate(), asked.experiment
    arms = {one.variant: asked.arms.arm(one.variant) for one in spaces}
    each = {variant: seconds_of(arm, rate) for variant, arm in arms.items()}
    print(f"{experiment.name}: {experiment.hypothesis}")
    rows = []
    for one in spaces:
        arm = arms[one.variant]
        steps = "measured" if arm.steps is None else str(arm.steps)
        size = "" if arm.steps is None else si(arm.steps * arm.bytes_per_step)
        cells = [str(asked.trials), steps, size, duration(each[one.variant])]
        rows.append([one.variant, *cells, one.said(asked.trials)])
    print_table(["variant", "trials", "steps", "bytes each", "about", "what is searched"], rows, right=range(1, 5))
    for note in notes:
        print(f"not searched: {note}")
    extended = f"; up to {2 * ROUNDS} more where the best is at the edge of the grid" if spaces[0].grid else ""
    total = asked.trials * sum(each.values()) / asked.workers
    print(
        f"{asked.trials} trials for each of {len(spaces)} variant(s), at seed {asked.seed}{extended}; about "
        f"{duration(total)} in all, {asked.workers} at once; {asked.storage_said}"
    )
    again = 0.0 if seeds is None else len(seeds) * sum(each.values()) / asked.workers
    if seeds is not None:
        listed = ",".join(map(str, seeds))
        print(f"then the best of each at seeds {listed}: {len(seeds) * len(spaces)} runs, about {duration(again)}")
    return {
        "experiment": experiment.name,
        "mode": "tune",
        "storage": asked.storage_said,
        "search_seed": asked.seed,
        "confirm_seeds": None if seeds is None else list(seeds),
        "estimated_seconds": {"search": total, "confirmation": again},
        "plan": [
            {
                "variant": one.variant,
                "trials": asked.trials,
                "steps": arms[one.variant].steps,
                "estimated_seconds": each[one.variant],
                "centre": one.centre,
                "grid": one.grid,
                "space": written(one.dimensions),
            }
            for one in spaces
        ],
    }


def _conclude(asked: Sweep, tuning: Tuning, found: dict[str, Any], seeds: Sequence[int] | None) -> bool:
    winners = tuning.winners()
    _show(tuning, winners, found)
    tuned = Tuned(
        experiment=asked.experiment.name,
        metric=tuning.objective.name,
        overrides=tuple(semantic_words(asked.words)),
        seed=asked.seed,
        study=asked.name or _STUDY,
        storage=asked.storage_said,
        winners=winners,
    )
    lost = [variant for variant in asked.variants if variant not in winners]
    for variant in lost:
        why = reason_of(tuning.studies[variant])
        print(f"{variant}: no trial came to a result; it is not tuned{why and f' ({why})'}", file=sys.stderr)
    if not winners:
        return False
    path = write_tuned(asked.results, tuned)
    print(f"written: {path}")
    found["tuned"] = str(path)
    fine = True if seeds is None else _confirmed(asked, tuned, found, seeds)
    return fine and not lost


def _confirmed(asked: Sweep, tuned: Tuned, found: dict[str, Any], seeds: Sequence[int]) -> bool:
    """Train the winners on fresh seeds, and show and write their table."""
    variants = [variant for variant in asked.variants if variant in tuned.winners]
    origin = str(tuned_path(asked.results, tuned.experiment))
    arms = asked.arms.beside(with_tuned(asked.experiment, tuned, variants, origin))
    words = [*asked.named, *asked.words, OPTION]
    plan = make_plan(arms, variants, list(seeds), plugins=asked.plugins, label=asked.name or LABEL)
    plan = annotated(plan, lambda variant: {**tuned.extra(variant), WORDS: recorded_words(words)})
    fine = confirm(plan, found)
    found |= conclude(plan, arms, variants, words)
    return fine


def _show(tuning: Tuning, winners: Mapping[str, Winner], found: dict[str, Any]) -> None:
    """A line for each variant: how its trials ended, the best, and how much its learning rate matters."""
    metric, rows = tuning.objective.name, []
    told: dict[str, dict[str, Any]] = {}
    for variant, study in tuning.studies.items():
        ended = states(study)
        counts = ", ".join(f"{count} {state}" for state, count in ended.items())
        winner = winners.get(variant)
        best = [f"{winner.value:.4f}", assigned(winner.fields)] if winner else ["", ""]
        near = ", ".join(f"{factor} {value:.4f}" for factor, value in winner.sensitivity.items()) if winner else ""
        rows.append([variant, counts, *best, near])
        info = {**winner.info(), "value": winner.value, "trial": winner.trial} if winner else None
        told[variant] = {"study": study.study_name, "trials": ended, "runs": runs(study), "best": info}
    print_table(["variant", "trials", f"best {metric}", "at", "learning rate"], rows, right=[2])
    for variant, one in told.items():
        trials = sum(one["trials"].values())
        if one["runs"] < trials:
            print(f"{variant}: {one['runs']} different runs in {trials} trials; others repeat one or are infeasible")
    for variant in tuning.at_edge():
        told[variant]["at_edge"] = True
        print(f"{variant}: its best is at the edge of the grid; a better rate may lie beyond, expected more --trials")
    found["sweep"] = told
