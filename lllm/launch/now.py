"""What an experiment's file defines at this moment, for tables and comparisons made long after its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lllm.config import Experiment, Tree, load_experiment
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan, Planned, expected
from lllm.registry import load_registry
from lllm.registry.build import blaming
from lllm.results.committed import load_records
from lllm.results.compare import Expected, tabulate
from lllm.results.diff import Defined, Side

__all__ = ["expected_rows", "experiment_now", "variant_now"]

_DEFINED = ("arm", "config", "fingerprints", "parts", "steps", "budget", "sizes", "git", "environment")


def expected_rows(name: str, plugins: Sequence[Path | str] = (), results: Path | None = None) -> list[Expected]:
    """Every variant of experiment `name`, as its file defines it now, at its own seeds. results: below which sizes that
    were matched by time are looked up (None: where the file says)."""
    experiment = load_experiment(name)
    arms = Arms(experiment, Tree(), load_registry(plugins), results=results)
    return expected(arms, list(experiment.variants), experiment.seeds)


def variant_now(experiment: str, variant: str, plugins: Sequence[Path | str] = ()) -> Side:
    """A variant as a run of it would begin now. Raises UserError where there is no such experiment or variant, or it
    cannot be built."""
    registry = load_registry(plugins)
    arms = Arms(load_experiment(experiment), Tree(), registry)
    with blaming(registry):
        arm = arms.arm(variant)
    plan = Plan(arms.experiment, (), Path(arm.resolved.run.results))
    info = plan.info(Planned(arm, 0, Path(), "train"), arm.steps or 0)
    known = {key: info[key] for key in _DEFINED if key != "steps" or arm.steps is not None}
    return Side(f"{variant} as {arms.experiment.path} defines it now", known)


def experiment_now(name: str, root: Path, plugins: Sequence[Path | str] = ()) -> Defined:
    """An experiment with the results below `root` that its table has now; errors as in `variant_now`."""
    experiment = load_experiment(name)
    rows = expected_rows(name, plugins, root)
    records = load_records(root, experiment.name)
    table = tabulate(records, experiment.name, rows)
    return Defined(str(experiment.path), _question(experiment), rows, table.rows)


def _question(experiment: Experiment) -> Mapping[str, Any]:
    """What the file says beyond its composition and its variants; what it does not say is left out."""
    search = experiment.search
    said = {
        "hypothesis": experiment.hypothesis,
        "base": experiment.base,
        "baseline": experiment.baseline,
        "seeds": {"unpaired": list(experiment.seeds)} if experiment.unpaired else list(experiment.seeds),
        "budget": experiment.composition.get("budget"),
        "match": experiment.match.model_dump(exclude_none=True) if experiment.match else None,
        "decide": experiment.decide.model_dump(exclude_none=True),
        "design": experiment.design.kind if experiment.design else None,
        "search": {path: str(declared) for path, declared in search.dimensions.items()} or None,
        "objectives": list(search.objectives) or None,
    }
    return {key: value for key, value in said.items() if value is not None}
