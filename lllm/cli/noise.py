"""`lllm noise`: how far two runs of the same thing are apart when only their seeds differ."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Experiment as ExperimentName
from lllm.cli.options import Json, Plugins
from lllm.errors import UserError, nearest
from lllm.results.rule import rule_of

if TYPE_CHECKING:
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
    from lllm.cli.run import arms_of
    from lllm.config import overrides_of
    from lllm.launch.plan import make_plan
    from lllm.results.noise import read_noise

    if not 2 <= seeds <= _MOST:
        raise UserError(f"--seeds {seeds}: expected how many, from 2 to {_MOST}; a spread needs two")
    fine, plugins = True, plugin or []
    with lasting_stdout(), json_alone(as_json) as found:
        overrides_of(words or [])  # a variant is no word of this verb
        arms, variants = arms_of(experiment, words or [], plugins, {"workers": workers})
        asked = arms.experiment
        if variant is not None and variant not in variants:
            raise UserError(f"--variant {variant}: no such variant{nearest(variant, variants)}")
        files = [str(path.resolve()) for path in plugins]
        plan = make_plan(arms, [variant or asked.baseline], range(seeds), plugins=files)
        arm = plan.runs[0].arm
        known = read_noise(plan.results, asked.name).fitting(arm.identity, arm.fingerprints, rule_of(asked).metric)
        if known is None or known.n < seeds:
            known, fine = _measured(plan, arms, found)
        else:
            print(f"stored already, from {known.n} seeds; nothing is trained")
        if known is not None:
            found |= _facts(known, plan)
            _show(found)
    raise typer.Exit(0 if fine else 1)


def _measured(plan: Plan, arms: Arms, found: dict[str, Any]) -> tuple[Noise | None, bool]:
    """Train what is left and store what comes of it; None and False where a run is missing or failed."""
    from lllm.cli.plan import plan_facts, print_plan
    from lllm.cli.run import train
    from lllm.launch.plan import expected
    from lllm.results.compare import compare
    from lllm.results.noise import measured, write_noise

    found |= plan_facts(plan)
    print_plan(plan, found["plan"])
    train(plan)
    arm, name, metric = plan.runs[0].arm, plan.experiment.name, rule_of(plan.experiment).metric
    seeds = [run.seed for run in plan.runs]
    row = compare(plan.results, name, expected(arms, [arm.variant], seeds)).rows[0]
    values = {seed: value for seed, value in row.values.items() if seed in seeds}
    if row.unfinished:
        told = ", ".join(f"s{seed} ({why})" for seed, why in row.unfinished.items())
        print(f"not stored: {len(values)} of {len(plan.runs)} seeds are finished; not: {told}", file=sys.stderr)
        return None, False
    if len(values) < len(plan.runs):
        raise UserError(
            f"decide = {metric}: {len(plan.runs) - len(values)} of {len(plan.runs)} results of variant "
            f"'{arm.variant}' have no such number; expected a metric that they have"
        )
    result = measured(metric, arm.identity, arm.fingerprints, values)
    print(f"written: {write_noise(plan.results, name, result)}")
    return result, True


def _facts(known: Noise, plan: Plan) -> dict[str, Any]:
    """What the noise is and what it means for this experiment."""
    from lllm.results.noise import FILE
    from lllm.results.statistics.power import detectable

    experiment, rule = plan.experiment, rule_of(plan.experiment)
    comparisons = max(1, len(experiment.variants) - 1)
    asked = (comparisons, rule.power, rule.level, rule.floor or 0.0)
    least = {seeds: detectable(known.sd, seeds, *asked, paired=not rule.unpaired) for seeds in _SEEDS}
    return {
        "experiment": experiment.name,
        "variant": plan.runs[0].arm.variant,
        "noise": asdict(known),
        "file": str(plan.results / experiment.name / FILE),
        "floor": rule.floor,
        "comparisons": comparisons,
        "level": rule.level,
        "power": rule.power,
        "detectable": [{"seeds": seeds, "difference": difference} for seeds, difference in least.items()],
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
