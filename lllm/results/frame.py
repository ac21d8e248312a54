"""Runs as a table for notebooks: `pandas.DataFrame(lllm.runs())`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lllm.results.committed import load_records
from lllm.results.records import Record, flatten

__all__ = ["runs"]


def runs(root: Path | str = "results", experiment: str | None = None) -> list[dict[str, Any]]:
    """One flat mapping per run, finished or not: who it is, its state, its numbers, its metrics as 'metrics.accuracy',
    its config as 'config.train.lr'."""
    return [_flat(record) for record in load_records(Path(root), experiment)]


def _flat(record: Record) -> dict[str, Any]:
    identity = {
        "run": record.name,
        "experiment": record.experiment,
        "variant": record.variant,
        "arm": record.arm,
        "seed": record.seed,
        "name": record.label or None,
        "state": record.state,
        "reason": record.reason or None,
        "path": str(record.path) if record.path else None,
        "steps": record.info.get("steps"),
    }
    numbers = {name: value for name, value in (record.result or {}).items() if name != "metrics"}
    measured = {f"metrics.{name}": value for name, value in record.metrics.items()}
    trees = {
        "fingerprint": record.info.get("fingerprints") or {},
        "size": record.info.get("sizes") or {},
        "config": record.config,
    }
    return {**identity, **numbers, **measured, **flatten(trees)}
