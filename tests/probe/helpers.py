"""Models of a run's size and rows of real text to probe them on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from lllm.data.batches import Batch
from lllm.model import LatentModel
from lllm.probe import Calls, Probe, probe
from lllm.registry import Registry
from tests.plants import Plant
from tests.plants.witness import model_of, text

__all__ = ["batch_of", "probed"]


def batch_of(rows: int, context: int) -> Batch:
    """Rows of Shakespeare, each of a document of its own."""
    made = text(rows, context)
    zeros = torch.zeros(rows, dtype=torch.long)
    return Batch(made.tokens, made.ok, made.rows, zeros, made.segment[:, 0].clone(), zeros)


def probed(
    registry: Registry,
    plant: Plant,
    folder: Path,
    *,
    rows: int = 16,
    progress: float = 1.0,
    last: Mapping[str, float] | None = None,
) -> tuple[LatentModel, Calls, Batch, Probe]:
    """The probe of a composition of a run's size, with all weights drawn anew."""
    model, context = model_of(registry, plant, folder)
    calls = Calls(model.train(), model, progress=progress, last=dict(plant.last if last is None else last))
    batch = batch_of(rows, context)
    return model, calls, batch, probe(calls, batch)
