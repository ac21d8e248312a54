"""Models of a run's size and rows of real text to probe them on."""

from __future__ import annotations

from pathlib import Path

import torch

from lllm.data.batches import Batch
from lllm.probe import Calls, Probe, probe
from lllm.registry import Registry
from tests.plants import Plant
from tests.plants.witness import Witness, text

__all__ = ["batch_of", "probed"]


def batch_of(rows: int, context: int) -> Batch:
    """Rows of Shakespeare, each of a document of its own."""
    tokens = text(rows, context).tokens
    number, zero = torch.arange(rows), torch.zeros(rows, dtype=torch.long)
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), number, zero, number, zero)


def probed(registry: Registry, plant: Plant, folder: Path, rows: int = 16) -> tuple[Witness, Calls, Batch, Probe]:
    """The probe of a composition of a run's size at the end of its training, with all weights drawn anew but where the
    plant shows at its own only."""
    witness = Witness(registry, plant, folder)
    calls = Calls(witness.model, witness.model, last=plant.last)
    batch = batch_of(rows, witness.context)
    return witness, calls, batch, probe(calls, batch)
