"""Sampling: reproducible, independent of the batch, never an illegal outcome."""

from __future__ import annotations

import pytest
import torch

from lllm.model import LatentModel, compose
from lllm.model.generate import generate
from lllm.registry import Registry
from tests.helpers import composition

PROMPTS = [[], [1], [1, 2, 3, 4], [0, 1, 2, 3, 4, 0, 1]]


def texts(model: LatentModel, prompts: list[list[int]], **options: object) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in prompts]
    for new in generate(model, prompts, 11, **options):  # type: ignore[arg-type]
        for row, ids in zip(rows, new, strict=True):
            row.extend(ids)
    return rows


def build(registry: Registry, head: str) -> LatentModel:
    return compose(registry, composition(registry, head=head), dtype=torch.float64)


heads = pytest.mark.parametrize("head", ["local_ar", "parallel"])


@heads
def test_prompts_together_equal_prompts_alone(registry: Registry, head: str) -> None:
    model = build(registry, head)
    together = texts(model, PROMPTS, temperature=0.0)
    assert [len(row) for row in together] == [11] * len(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        assert texts(model, [prompt], temperature=0.0)[0] == together[row]
    assert texts(model, PROMPTS[:1])[0] == texts(model, PROMPTS)[0]


@heads
def test_seed_decides_and_illegal_ids_never_appear(registry: Registry, head: str) -> None:
    model = build(registry, head)
    first = texts(model, PROMPTS, seed=1)
    assert first == texts(model, PROMPTS, seed=1)
    assert first != texts(model, PROMPTS, seed=2)
    assert max(map(max, first)) < 5


def test_top_1_is_greedy(registry: Registry) -> None:
    model = build(registry, "local_ar")
    assert texts(model, PROMPTS, top_k=1) == texts(model, PROMPTS, temperature=0.0)


def test_greedy_tokens_are_those_of_the_parallel_form(registry: Registry) -> None:
    """Each generated token is the argmax of its conditional given everything before it."""
    model = build(registry, "local_ar")
    for prompt in PROMPTS:
        whole = torch.tensor([prompt + texts(model, [prompt], temperature=0.0)[0]])
        x = model.hidden(whole, torch.ones_like(whole, dtype=torch.bool), torch.zeros(1, dtype=torch.long))
        logits = model.head.conditionals(x, model.head.table())
        for t in range(len(prompt), whole.shape[1]):
            slot = t % model.ratio
            best = int(logits[slot, frozenset(range(slot))][0, t // model.ratio].argmax())
            assert best == int(whole[0, t])


def test_a_row_stops_at_the_end_of_its_text(registry: Registry) -> None:
    model = build(registry, "local_ar")
    greedy = texts(model, [[1]], temperature=0.0)[0]
    assert texts(model, [[1]], stop=greedy[2], temperature=0.0)[0] == greedy[: greedy.index(greedy[2]) + 1]
