"""What the objectives weigh, by hand."""

from __future__ import annotations

import torch

from lllm.data.batches import Batch
from lllm.model.contracts import TrainOut
from lllm.registry import Registry
from tests.train.helpers import part

OK = torch.tensor([[[1, 1, 1, 1], [1, 1, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]]).bool()


def batch(**columns: torch.Tensor) -> Batch:
    rows = torch.arange(2)
    return Batch(torch.zeros(2, 8, dtype=torch.long), OK.view(2, 8), rows, rows * 0, rows, rows * 0, columns)


def weights(registry: Registry, rows: Batch, *, per_chunk: bool) -> list[object]:
    slots = torch.ones(2, 2, 4) * OK
    out = TrainOut(slots.sum(-1), None if per_chunk else slots, OK)
    found: list[object] = part(registry, "objective", "cross_entropy").weights(out, rows, 0.5, {}).tolist()
    return found


def test_a_partial_chunk_counts_for_the_tokens_that_it_has(registry: Registry) -> None:
    """Its nats are already of two tokens, or one: the weight is 1, and 0 where there is none."""
    assert weights(registry, batch(), per_chunk=True) == [[1, 1], [1, 0]]
    assert weights(registry, batch(), per_chunk=False) == OK.float().tolist()


def test_the_data_weigh_real_tokens_only(registry: Registry) -> None:
    given = torch.tensor([[1, 2, 3, 6, 2, 4, 9, 9], [5, 9, 9, 9, 9, 9, 9, 9]]).float()
    assert weights(registry, batch(weight=given), per_chunk=True) == [[3, 3], [5, 0]]
    assert weights(registry, batch(weight=given), per_chunk=False) == (given.view(2, 2, 4) * OK).tolist()
