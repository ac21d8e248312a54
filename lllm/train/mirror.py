"""Weights & Biases mirrors metrics.jsonl when asked; nothing here imports wandb otherwise."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lllm.errors import UserError

__all__ = ["check_mirror", "mirrored"]

Report = Callable[[Mapping[str, Any]], None]
OFF = "off"


def check_mirror(mode: str) -> None:
    """Refuse a mode that needs a package that is not there.

    Raises:
        UserError: `mode` is offline or online and wandb is not installed.
    """
    if mode != OFF:
        _wandb(mode)


@contextmanager
def mirrored(mode: str, path: Path, info: Mapping[str, Any], report: Report) -> Iterator[Report]:
    """Yield what tells both `report` and W&B of a record. mode: off, offline (needs no account) or online.

    The run at `path` has one id there, whatever process trains it, so that a resumed run continues its curves.

    Raises:
        UserError: wandb is not installed, or W&B refuses the run.
    """
    if mode == OFF:
        yield report
        return
    wandb = _wandb(mode)
    os.environ["WANDB_MODE"] = mode  # for the processes that wandb starts, too
    try:
        run = wandb.init(
            project=f"lllm-{info['experiment']}",
            name=f"{info['name'] or info['variant']}/s{info['seed']}",
            group=info["variant"],
            id=f"{info['arm'][:16]}-s{info['seed']}",
            config={**info["config"]["semantic"], "arm": info["arm"], "seed": info["seed"]},
            dir=str(path),
            mode=mode,
            resume="allow",
        )
    except wandb.Error as error:
        raise UserError(f"run.wandb = '{mode}': {error}; expected an account, or run.wandb=offline") from None

    def both(record: Mapping[str, Any]) -> None:
        report(record)
        run.log(dict(record), step=record["step"])

    failed = True
    try:
        yield both
        failed = False
    finally:
        run.finish(exit_code=int(failed))


def _wandb(mode: str) -> Any:
    try:
        return importlib.import_module("wandb")
    except ImportError:
        raise UserError(
            f"run.wandb = '{mode}': wandb is not installed; expected it after: pip install \"lllm[wandb]\""
        ) from None
