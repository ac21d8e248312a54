"""Sampling: reproducible, independent of the batch, never an illegal outcome."""

from __future__ import annotations

import torch

from lllm.model import LatentModel, compose
from lllm.model.generate import generate
from lllm.registry import Registry
from tests.helpers import composition

PROMPTS = [[], [1], [1, 2, 3, 4], [0, 1, 2, 3, 4, 0, 1]]


def texts(model: LatentModel, prompts: list[list[int]], **options: object) -> torch.Tensor:
    return torch.stack([ids for ids, _ in generate(model, prompts, 11, **options)], 1)  # type: ignore[arg-type]


def test_prompts_together_equal_prompts_alone_when_greedy(registry: Registry) -> None:
    model = compose(registry, composition(registry), dtype=torch.float64)
    together = texts(model, PROMPTS, temperature=0.0)
    for row, prompt in enumerate(PROMPTS):
        assert torch.equal(texts(model, [prompt], temperature=0.0)[0], together[row])


def test_seed_decides_and_illegal_ids_never_appear(registry: Registry) -> None:
    model = compose(registry, composition(registry), dtype=torch.float64)
    first = texts(model, PROMPTS, seed=1)
    assert torch.equal(first, texts(model, PROMPTS, seed=1))
    assert not torch.equal(first, texts(model, PROMPTS, seed=2))
    assert int(first.max()) < 5


def test_top_1_is_greedy(registry: Registry) -> None:
    model = compose(registry, composition(registry), dtype=torch.float64)
    assert torch.equal(texts(model, PROMPTS, top_k=1), texts(model, PROMPTS, temperature=0.0))


def test_a_row_stops_at_the_end_of_its_text(registry: Registry) -> None:
    model = compose(registry, composition(registry), dtype=torch.float64)
    greedy = texts(model, [[1]], temperature=0.0)[0].tolist()
    steps = list(generate(model, [[1]], 11, stop=greedy[2], temperature=0.0))
    stopped = greedy.index(greedy[2]) + 1
    assert len(steps) == stopped
    assert not bool(steps[-1][1])
