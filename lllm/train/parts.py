"""The parts that train a model, and the hooks of all parts of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lllm.model.contracts import ModelPart
from lllm.model.latent import LatentModel
from lllm.train.contracts import TrainingPart
from lllm.train.hooks import Hook
from lllm.train.setup import Setup

__all__ = ["hooks_of", "training_parts"]


def training_parts(setup: Setup, model: LatentModel, seed: int) -> dict[str, Any]:
    """The parts by kind, of every kind whose contract is a `TrainingPart`; an adapter has changed `model`."""
    build, chosen = setup.resolved.build(), setup.resolved.parts
    parts = {kind: build.part(kind) for kind, spec in chosen.items() if issubclass(spec.entry.cls, TrainingPart)}
    if "adapter" in parts:
        parts["adapter"].attach(model, seed)
    return parts


def hooks_of(model: LatentModel, training: Mapping[str, TrainingPart]) -> list[Hook]:
    """The hooks of all parts, the model's first."""
    hooks = [hook for part in model.modules() if isinstance(part, ModelPart) for hook in part.hooks()]
    hooks += [hook for part in training.values() for hook in part.hooks()]
    names = [hook.name for hook in hooks]
    if len(set(names)) != len(names):
        raise TypeError(f"two hooks share a name among {names}; each needs its own to find its state again")
    return hooks
