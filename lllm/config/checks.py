"""What no single field can know: settings that do not fit one another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lllm.config.experiment import Experiment
from lllm.config.schema import Budget, Data, Model, Run, Train
from lllm.config.sections import section_of
from lllm.config.tree import Tree
from lllm.errors import UserError, nearest

__all__ = ["check_budget", "check_fields"]

_MOST = 1 << 53  # larger whole numbers are not exact as float64, in JSON for one; no size is as large


def check_fields(tree: Tree, data: Data, model: Model, train: Train, run: Run) -> None:
    """Refuse sections that cannot be had together, and numbers that no option of any part can mean. tree: where the
    values came from."""
    for path, value in tree.leaves():
        for number in _whole_numbers(value):
            if abs(number) > _MOST:
                raise UserError(f"{tree.origin(path)}: {path} = {value}: expected no whole number beyond 2^53")
    if data.multiple % model.ratio:
        fit = [r for r in range(1, 9) if data.multiple % r == 0]
        raise UserError(
            f"{_from(tree, 'model.ratio', 'data.multiple')}: model.ratio = {model.ratio}: does not divide "
            f"data.multiple, {data.multiple}; expected one of {', '.join(map(str, fit))}"
        )
    if data.context % data.multiple:
        below = max(data.multiple, data.context // data.multiple * data.multiple)
        raise UserError(
            f"{_from(tree, 'data.context', 'data.multiple')}: data.context = {data.context}: expected a multiple of "
            f"data.multiple, {data.multiple}, such as {below}"
        )
    if model.ratio > 1 and model.token_width is None and model.width < 2:
        raise UserError(
            f"{tree.origin('model.width')}: model.width = {model.width}: a token is half as wide at ratio "
            f"{model.ratio}; expected at least 2, or model.token_width"
        )
    world = run.nproc * run.nnodes
    if world > train.batch:
        raise UserError(
            f"{_from(tree, 'run.nproc', 'run.nnodes', 'train.batch')}: run.nproc x run.nnodes = {world} processes: "
            f"larger than train.batch, {train.batch}; expected a row for each"
        )
    if run.micro_batch is not None and run.micro_batch > train.batch:
        raise UserError(
            f"{_from(tree, 'run.micro_batch', 'train.batch')}: run.micro_batch = {run.micro_batch}: larger than "
            f"train.batch, {train.batch}; expected at most that"
        )


def check_budget(experiment: Experiment, variant: str, overrides: Tree) -> None:
    """Refuse a budget that names a variant there is not, or that leads back to itself."""
    asked = [variant]
    while True:
        tree = experiment.layer(asked[-1], overrides)
        budget = section_of("budget", tree)
        name = budget.variant if isinstance(budget, Budget) else None
        if name is None:
            return
        where = f"{tree.origin('budget.flops')}: budget.flops = '{name}'"
        if name not in experiment.variants:
            raise UserError(f"{where}: no such variant{nearest(name, experiment.variants)}")
        if name in asked:
            loop = " -> ".join([*asked, name])
            raise UserError(f"{where}: a budget that leads back to itself ({loop}); expected another variant")
        asked.append(name)


def _whole_numbers(value: Any) -> Iterator[int]:
    """Those in a setting, at any depth."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _whole_numbers(inner)


def _from(tree: Tree, *paths: str) -> str:
    """Where the first of these settings that was given came from."""
    return tree.origin(next((path for path in paths if path in tree.origins), paths[0]))
