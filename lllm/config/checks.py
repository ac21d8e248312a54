"""What no single field can know: settings that do not fit one another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

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

    def refuse(said: str, *paths: str) -> NoReturn:
        """paths: settings that do not fit, of which the first that was given is blamed."""
        raise UserError(f"{tree.origin(next((path for path in paths if path in tree.origins), paths[0]))}: {said}")

    if data.multiple % model.ratio:
        fit = ", ".join(str(ratio) for ratio in range(1, 9) if data.multiple % ratio == 0)
        said = f"model.ratio = {model.ratio}: does not divide data.multiple, {data.multiple}; expected one of {fit}"
        refuse(said, "model.ratio", "data.multiple")
    if data.context % data.multiple:
        below = max(data.multiple, data.context // data.multiple * data.multiple)
        said = f"expected a multiple of data.multiple, {data.multiple}, such as {below}"
        refuse(f"data.context = {data.context}: {said}", "data.context", "data.multiple")
    if model.ratio > 1 and model.token_width is None and model.width < 2:
        said = f"a token is half as wide at ratio {model.ratio}; expected at least 2, or model.token_width"
        refuse(f"model.width = {model.width}: {said}", "model.width")
    world = run.nproc * run.nnodes
    if world > train.batch:
        said = f"{world} processes: larger than train.batch, {train.batch}; expected a row for each"
        refuse(f"run.nproc x run.nnodes = {said}", "run.nproc", "run.nnodes", "train.batch")
    if run.micro_batch is not None and run.micro_batch > train.batch:
        said = f"larger than train.batch, {train.batch}; expected at most that"
        refuse(f"run.micro_batch = {run.micro_batch}: {said}", "run.micro_batch", "train.batch")


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
