"""Models of equal size for benchmarks: the flat model, and 4:1 models whose trunk FFN is turned to match it."""

from __future__ import annotations

from typing import Any

from lllm.model import Composition, LatentModel, compose
from lllm.model.accounting import parameters
from lllm.model.match import solve
from lllm.registry import Registry

BYTES, ILLEGAL = 264, (256, *range(258, 264))  # bytes and EOS are the legal outcomes


def composition(
    registry: Registry, ratio: int, head: Any, *, width: int, depth: int, heads: int, hidden: int
) -> Composition:
    nodes: dict[str, Any] = {
        "embedding": "table",
        "downsampler": "identity" if ratio == 1 else "concat",
        "mixer": {"use": "attention", "heads": heads},
        "ffn": {"use": "swiglu", "hidden": hidden},
        "block": "prenorm",
        "trunk": {"use": "uniform", "depth": depth},
        "visibility": "causal",
        "head": head,
    }
    parts = {kind: registry.config(kind, node, f"model.{kind}") for kind, node in nodes.items()}
    return Composition(parts, width, ratio, BYTES, ILLEGAL)


def equal_models(
    registry: Registry, heads: dict[str, tuple[int, Any]], *, width: int, depth: int
) -> dict[str, LatentModel]:
    """name -> model, the first unmatched and the others within 1% of its parameters. heads: name -> (ratio, head)."""
    models: dict[str, LatentModel] = {}
    target = 0
    for name, (ratio, head) in heads.items():

        def build(hidden: int, device: str = "meta", ratio: int = ratio, head: Any = head) -> LatentModel:
            choice = composition(
                registry, ratio, head, width=width, depth=depth, heads=max(1, width // 32), hidden=hidden
            )
            return compose(registry, choice, device=device)

        hidden = 4 * width
        if models:
            hidden = solve(lambda h: parameters(build(h)), target, 0.01, where=name).value
        models[name] = build(hidden, "cpu")
        target = target or parameters(models[name])
    return models
