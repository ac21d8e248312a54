"""What the data say is read and never scored becomes the prefix of a visibility that has one."""

from __future__ import annotations

import torch

from lllm.data import Document
from lllm.data.prepare import shard_of
from lllm.registry import Registry
from tests.check import ends, layers
from tests.check.compositions import toys
from tests.train.helpers import MULTIPLE, batches, model, tokenizer

PROMPTED = {"mixer": {"use": "attention", "heads": 2}, "ratio": 4}


def rows(registry: Registry, prompts: tuple[int, ...]) -> object:
    """Documents of 16 bytes whose first so many are a prompt."""
    documents = [Document(bytes(range(65, 81)), unscored=[(0, p)] if p else []) for p in prompts]
    return batches(shard_of(documents, tokenizer(registry), MULTIPLE), size=len(prompts)).at(0)


def test_a_prompt_is_the_prefix_of_its_row(registry: Registry) -> None:
    known = registry.with_parts(*toys(ends, layers))
    batch = rows(known, (0, 9, 8, 3))
    built = model(known, visibility="toy_prefix", **PROMPTED)
    out = built(batch, progress=0.0, step=0, seed=0)
    prompt = batch.prompt  # type: ignore[attr-defined]
    assert sorted(prompt.tolist()) == [0, 3, 8, 9]
    scored = out.ok.any(-1)
    for row, length in enumerate(prompt.tolist()):
        assert not scored[row, : length // 4].any()
        assert scored[row, length // 4]
    causal = model(known, **PROMPTED)
    assert causal(batch, progress=0.0, step=0, seed=0).ok.any(-1)[:, 0].all()


def test_a_random_prefix_belongs_to_the_row(registry: Registry) -> None:
    known = registry.with_parts(*toys(ends, layers))
    batch = rows(known, (0, 9, 8, 3))
    built = model(known, visibility="toy_random_prefix", **PROMPTED)
    whole = built(batch, progress=0.0, step=2, seed=1)
    lost = (~whole.ok.any(-1)).sum(1)
    assert len(set(lost.tolist())) > 1
    part = built(batch.slice(2, 4), progress=0.0, step=2, seed=1)  # type: ignore[attr-defined]
    assert torch.equal(part.ok, whole.ok[2:4])
    other = [built(batch, progress=0.0, step=s, seed=1).ok for s in range(3, 8)]
    assert any(not torch.equal(ok, whole.ok) for ok in other)


def test_without_a_non_causal_region_no_part_is_told_of_a_prefix(registry: Registry) -> None:
    batch = rows(registry, (0, 9, 8, 3))
    told = []
    built = model(registry, **PROMPTED)
    built.trunk.register_forward_pre_hook(lambda module, inputs: told.append(inputs[1].prefix))
    built(batch, progress=0.0, step=0, seed=0)
    assert told[0].tolist() == [0, 0, 0, 0]
