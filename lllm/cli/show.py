"""`lllm show`: a part, an experiment, or what a variant is composed of and what each piece of it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Json, Plugins
from lllm.cli.output import print_json, print_table
from lllm.errors import UserError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lllm.config import Experiment
    from lllm.launch.arms import Arm
    from lllm.model.accounting import Node
    from lllm.registry import Registry

__all__ = ["composed", "described", "show"]


def show(
    name: Annotated[str, typer.Argument(help="A part, as NAME or KIND/NAME, or an experiment.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VARIANT...] [KEY=VALUE...]", help="An experiment's variants; changes to them."),
    ] = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Show a part with its options, an experiment, or the composed tree of its variants with what each node costs."""
    from lllm.cli.description import describe, show_experiment, show_part
    from lllm.config import list_experiments, load_experiment
    from lllm.registry import load_registry

    registry = load_registry(plugin or [])
    experiments = [listed.name for listed in list_experiments()]
    parts = registry.find(name)
    if words or name in experiments or name.endswith((".yaml", ".yml")):
        if parts and not words:
            where = " or ".join(f"{entry.kind}/{entry.name}" for entry in parts)
            raise UserError(f"show: '{name}' is an experiment and a part; expected {where}, or the experiment's file")
        experiment = load_experiment(name)
        if not words:
            show_experiment(experiment, as_json)
            return
        arms, base = composed(experiment, words, registry)
        if as_json:
            print_json([described(arm, base) for arm in arms])
            return
        for i, arm in enumerate(arms):
            if i:
                print()
            _show_arm(arm, base)
        return
    if not parts:
        known = [f"{e.kind}/{e.name}" if "/" in name else e.name for e in registry.entries.values()]
        failed = "; ".join(f"{path}: {reason}" for path, reason in registry.failures.items())
        raise UserError(
            f"show: unknown part or experiment '{name}'{nearest(name, [*known, *experiments])}"
            + (f" (could not be imported: {failed})" if failed else "")
        )
    if as_json:
        print_json([describe(entry) for entry in parts])
        return
    for entry in parts:
        show_part(entry)


def composed(experiment: Experiment, words: Sequence[str], registry: Registry) -> tuple[list[Arm], Arm]:
    """The arms of the variants that are named, under the changes to them, and the baseline's as the file has it."""
    from lllm.cli.progress import preparing
    from lllm.config import Tree, split_words
    from lllm.launch.arms import Arms
    from lllm.registry.build import blaming

    variants, overrides = split_words(words, experiment)
    arms = Arms(experiment, overrides, registry, preparing())
    with blaming(registry):
        base = Arms(experiment, Tree(), registry, preparing())
        return [arms.arm(variant) for variant in variants], base.arm(experiment.baseline)


def _nodes(arm: Arm) -> list[Node]:
    from lllm.model.accounting import tree
    from lllm.registry.build import blaming

    with blaming(arm.setup.registry):
        return tree(arm.setup.model(None, "meta"), arm.resolved.data.context)


def described(arm: Arm, base: Arm) -> dict[str, Any]:
    """The tree of an arm, its totals beside the baseline's and its settings, as JSON has them."""
    context = arm.resolved.data.context
    return {
        "variant": arm.variant,
        "arm": arm.identity,
        "baseline": base.variant,
        "nodes": [
            {
                "path": node.path,
                "name": node.label,
                "depth": node.depth,
                "rate": node.rate,
                "parameters": node.params,
                "flops_per_token": node.cost.flops / context,
            }
            for node in _nodes(arm)
        ],
        "totals": _totals(arm),
        "baseline_totals": _totals(base),
        "matched": arm.matched,
        "settings": arm.resolved.delta(),
    }


def _totals(arm: Arm) -> dict[str, Any]:
    data, train = arm.resolved.data, arm.resolved.train
    return {
        "parameters": arm.parameters,
        "train_flops_per_token": arm.flops_per_step / (data.context * train.batch),
        "train_flops_per_byte": arm.flops_per_step / arm.bytes_per_step,
        "steps": arm.steps,
    }


def _show_arm(arm: Arm, base: Arm) -> None:
    """The tree, each node beside the same place of the baseline; totals; settings that are not the default."""
    from lllm.cli.description import written
    from lllm.results.records import flatten
    from lllm.results.table import si

    print(f"{arm.variant}, arm {arm.identity[:8]}, beside {base.variant}")
    before = {node.path: node for node in _nodes(base)}
    context, base_context = arm.resolved.data.context, base.resolved.data.context
    rows = []
    for node in _nodes(arm):
        old, flops = before.get(node.path), node.cost.flops / context
        rows.append(
            [
                "  " * node.depth + (f"{node.path.rpartition('.')[2]}: " if node.path else "") + node.label,
                _rate(node.rate),
                si(node.params),
                _change(node.params, old.params if old else None),
                si(flops),
                _change(flops, old.cost.flops / base_context if old else None),
            ]
        )
    print_table(["node", "rate", "parameters", "", "FLOPs/token", ""], rows, right=range(1, 6))
    totals, usual = _totals(arm), _totals(base)
    print()
    labels = {
        "parameters": "parameters",
        "train_flops_per_token": "training FLOPs per token",
        "train_flops_per_byte": "training FLOPs per byte",
    }
    lines = [[text, si(totals[key]), _change(totals[key], usual[key])] for key, text in labels.items()]
    print_table(["", "total", ""], lines, right=(1, 2))
    if arm.matched:
        print(f"matched to {base.variant}: {arm.matched}")
    print("\nsettings that are not the default")
    settings = flatten(arm.resolved.delta())
    print_table(["setting", "value"], [[key.removesuffix(".use"), written(value)] for key, value in settings.items()])


def _rate(rate: float) -> str:
    """Positions per token, as a fraction where it is one."""
    return f"1/{1 / rate:.0f}" if rate < 1 and abs(1 / rate - round(1 / rate)) < 1e-9 else f"{rate:g}"


def _change(now: float, before: float | None) -> str:
    """'+12.5%'; '=' where nothing changed, 'new' where the baseline has nothing there."""
    if before is None:
        return "new"
    if now == before:
        return "="
    return f"{now / before - 1:+.1%}" if before else "new"
