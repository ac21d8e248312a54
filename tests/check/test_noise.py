"""What a part adds beside its outputs: an auxiliary loss, a batch statistic, noise."""

from __future__ import annotations

import torch

from lllm.model import compose
from lllm.registry import Registry
from tests.check import layers
from tests.check.compositions import toy, toys
from tests.helpers import batch

NAMES = {"toy_noisy.0", "toy_noisy.1"}


def test_auxiliary_losses_statistics_and_noise_of_a_step(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers))
    model = compose(known, toy(known, ffn="toy_noisy"), dtype=torch.float64)
    rows = batch(torch.randint(0, 5, (3, 24), generator=torch.Generator().manual_seed(0)))
    first = model(rows, progress=0.0, step=0, seed=0)
    assert set(first.aux) == set(first.statistics) == set(first.metrics) == NAMES
    assert all(value.shape == (3,) and value.requires_grad for value in first.aux.values())
    assert torch.equal(first.nats, model(rows, progress=0.0, step=0, seed=0).nats)
    for other in ({"step": 1, "seed": 0}, {"step": 0, "seed": 1}):
        assert not torch.equal(first.nats, model(rows, progress=0.0, **other).nats)
    steered = model(rows, progress=0.0, step=0, seed=0, last=dict.fromkeys(NAMES, 0.0))
    assert not torch.equal(first.nats, steered.nats)
    assert torch.equal(model.likelihoods(rows)["independent"].nats, model.likelihoods(rows)["independent"].nats)
