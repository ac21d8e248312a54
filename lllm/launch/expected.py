"""What an experiment's file says now, for tables made long after its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lllm.config import Tree, load_experiment
from lllm.launch.arms import Arms
from lllm.launch.plan import expected
from lllm.registry import load_registry
from lllm.results.compare import Expected

__all__ = ["expected_rows"]


def expected_rows(name: str, plugins: Sequence[Path | str] = (), results: Path | None = None) -> list[Expected]:
    """Every variant of experiment `name`, as its file defines it now, at its own seeds. results: below which sizes that
    were matched by time are looked up (None: where the file says)."""
    experiment = load_experiment(name)
    arms = Arms(experiment, Tree(), load_registry(plugins), results=results)
    return expected(arms, list(experiment.variants), experiment.seeds)
