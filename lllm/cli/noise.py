"""`lllm noise`: how far two runs of the same thing are apart when only their seeds differ."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Experiment as ExperimentName
from lllm.cli.options import Json, Plugins
from lllm.errors import UserError, nearest

if TYPE_CHECKING:
    from lllm.config import Experiment
    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan
    from lllm.results.noise import Noise

__all__ = ["noise"]

_SEEDS = (2, 3, 5, 8)  # per variant, for which it is said what they can show
_MOST = 10_000


def noise(
    experiment: ExperimentName,
    words: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE...]", help="As train.lr=1e-3.")] = None,
    variant: Annotated[str | None, typer.Option(help="Another variant than the baseline.")] = None,
    seeds: Annotated[int, typer.Option(help="How many: 0, 1, ...")] = 8,
    workers: Annotated[int | None, typer.Option(help="Runs at once.")] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Measure the noise of an experiment: its baseline, trained with so many seeds.

    They are ordinary runs: finished ones are reused, interrupted ones continue. What comes of them is stored in
    noise.json, and tells every plan what difference its seeds would find, as long as code, data and evaluator stay the
    same. Tables do not use it: their intervals rest on their own runs.
    """
    from lllm.cli.output import json_alone, lasting_stdout
    from lllm.cli.progress import measuring, preparing
    from lllm.cli.run import add_options
    from lllm.config import load_experiment, overrides_of
    from lllm.launch.arms import Arms
    from lllm.launch.plan import make_plan
    from lllm.registry import load_registry

    if not 2 <= seeds <= _MOST:
        raise UserError(f"--seeds {seeds}: expected how many, from 2 to {_MOST}; a spread needs two")
    fine, plugins = True, plugin or []
    with lasting_stdout(), json_alone(as_json) as found:
        registry, asked = load_registry(plugins), load_experiment(experiment)
        overrides = overrides_of(words or [])
        add_options(overrides, {"workers": workers})
        arms = Arms(asked, overrides, registry, preparing(), measure=measuring)
        plan = make_plan(
            arms, [_chosen(variant, asked)], range(seeds), plugins=[str(path.resolve()) for path in plugins]
        )
        known = _stored(plan)
        if known is None or known.n < seeds:
            known, fine = _measured(plan, arms, found)
        else:
            print(f"stored already, from {known.n} seeds; nothing is trained")
        if known is not None:
            found |= _facts(known, plan)
            _show(found)
    raise typer.Exit(0 if fine else 1)


def _chosen(variant: str | None, experiment: Experiment) -> str:
    if variant is None:
        return experiment.baseline
    if variant not in experiment.variants:
        raise UserError(f"--variant {variant}: no such variant{nearest(variant, experiment.variants)}")
    return variant


def _stored(plan: Plan) -> Noise | None:
    from lllm.launch.plan import rule_of
    from lllm.results.noise import read_noise

    arm, name = plan.runs[0].arm, plan.experiment.name
    return read_noise(plan.results, name).fitting(arm.identity, arm.fingerprints, rule_of(plan.experiment).metric)


def _measured(plan: Plan, arms: Arms, found: dict[str, Any]) -> tuple[Noise | None, bool]:
    """Train what is left and store what comes of it; None and False where a run is missing or failed."""
    from lllm.cli.plan import plan_facts, print_plan
    from lllm.cli.run import train
    from lllm.launch.execute import worker_command
    from lllm.launch.plan import rule_of
    from lllm.results.noise import measured, write_noise
    from lllm.results.run import check_writable

    found |= plan_facts(plan)
    print_plan(plan, found["plan"])
    check_writable(plan.results)
    for pending in plan.pending[:1]:
        worker_command(pending)  # what cannot be started is refused before anything is written
    sys.stdout.flush()  # whoever reads a pipe sees the plan before the training
    train(plan)
    values, unfinished = _values(plan, arms)
    if unfinished:
        told = ", ".join(f"s{seed} ({why})" for seed, why in unfinished.items())
        print(f"not stored: {len(values)} of {len(plan.runs)} seeds are finished; not: {told}", file=sys.stderr)
        return None, False
    arm, name, metric = plan.runs[0].arm, plan.experiment.name, rule_of(plan.experiment).metric
    if len(values) < len(plan.runs):
        raise UserError(
            f"decide = {metric}: {len(plan.runs) - len(values)} of {len(plan.runs)} results of variant "
            f"'{arm.variant}' have no such number; expected a metric that they have"
        )
    result = measured(metric, arm.identity, arm.fingerprints, values)
    print(f"written: {write_noise(plan.results, name, result)}")
    return result, True


def _values(plan: Plan, arms: Arms) -> tuple[dict[int, float], dict[int, str]]:
    """The metric by seed, and seed -> in which state it is, of those that are not finished."""
    from lllm.launch.plan import expected
    from lllm.results.compare import compare

    seeds = [run.seed for run in plan.runs]
    row = compare(plan.results, plan.experiment.name, expected(arms, [plan.runs[0].arm.variant], seeds)).rows[0]
    return {seed: value for seed, value in row.values.items() if seed in seeds}, dict(row.unfinished)


def _facts(known: Noise, plan: Plan) -> dict[str, Any]:
    """What the noise is and what it means for this experiment."""
    from dataclasses import asdict

    from lllm.launch.plan import rule_of
    from lllm.results.noise import FILE
    from lllm.results.statistics.power import detectable

    experiment, rule = plan.experiment, rule_of(plan.experiment)
    comparisons = max(1, len(experiment.variants) - 1)

    def least(seeds: int) -> float | None:
        return detectable(
            known.sd, seeds, comparisons, rule.power, rule.level, rule.floor or 0.0, paired=not rule.unpaired
        )

    return {
        "experiment": experiment.name,
        "variant": plan.runs[0].arm.variant,
        "noise": asdict(known),
        "file": str(plan.results / experiment.name / FILE),
        "floor": rule.floor,
        "comparisons": comparisons,
        "level": rule.level,
        "power": rule.power,
        "detectable": [{"seeds": seeds, "difference": least(seeds)} for seeds in _SEEDS],
    }


def _show(facts: dict[str, Any]) -> None:
    from lllm.cli.output import print_table
    from lllm.results.noise import LEVEL

    noise, metric = facts["noise"], facts["noise"]["metric"]
    arm, seeds = f"{facts['variant']} ({noise['arm'][:8]})", len(noise["seeds"])
    print(f"\n{arm}: {metric} over {seeds} seeds, mean {noise['mean']:.4f}")
    print(
        f"standard deviation {noise['sd']:.2g}, between {noise['low']:.2g} and {noise['high']:.2g} at {LEVEL:.0%} "
        "if runs are normally distributed"
    )
    if facts["floor"] is not None:
        print(f"floor {facts['floor']:.2g}, as the file says: no smaller difference from the baseline counts")
    said = f"{facts['comparisons']} comparison{'s' if facts['comparisons'] > 1 else ''}"
    print(f"\nwhat is found with probability {facts['power']:.0%} ({said}, intervals at {facts['level']:.0%}):")
    rows = [[str(line["seeds"]), f"{line['difference']:.2g}"] for line in facts["detectable"]]
    print_table(["seeds of each variant", f"smallest difference, {metric}"], rows, right=(0, 1))
