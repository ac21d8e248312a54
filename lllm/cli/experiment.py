"""An experiment and its variants as `lllm show` and `lllm list` tell of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lllm.cli.output import print_json, print_table

if TYPE_CHECKING:
    from lllm.config import Experiment, Tree

__all__ = ["deltas", "show_experiment", "written"]


def deltas(tree: Tree) -> dict[str, Any]:
    """What a layer sets: dotted path -> value, a part's name under the part's own path."""
    return {path.removesuffix(".use"): value for path, value in tree.leaves()}


def written(value: Any) -> str:
    """A setting as it would be typed."""
    return str(value) if value is not None and not isinstance(value, bool) else json.dumps(value)


def show_experiment(experiment: Experiment, as_json: bool) -> None:
    """Print the question: hypothesis, variants with what they change, budget, seeds, what is matched, the rule."""
    design = experiment.design
    facts = {
        "file": str(experiment.path),
        "base": experiment.base,
        "baseline": experiment.baseline,
        "budget": experiment.composition.get("budget"),
        "seeds": {"unpaired": list(experiment.seeds)} if experiment.unpaired else list(experiment.seeds),
        "match": experiment.match.model_dump(exclude_none=True) if experiment.match else None,
        "design": {design.kind: ", ".join(design.factors)} if design else None,
        "decide": experiment.decide.model_dump(exclude_defaults=True) or experiment.decide.metric,
    }
    variants = {name: deltas(tree) for name, tree in experiment.variants.items()}
    if as_json:
        print_json({"experiment": experiment.name, "hypothesis": experiment.hypothesis, **facts, "variants": variants})
        return
    print(f"{experiment.name}: {experiment.hypothesis}\n")
    print_table(["setting", "value"], [[name, _fact(value)] for name, value in facts.items() if value is not None])
    print()
    rows = [[name, ", ".join(f"{k}={written(v)}" for k, v in found.items())] for name, found in variants.items()]
    print_table(["variant", "what it changes"], rows)


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {written(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
