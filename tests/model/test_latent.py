"""The composed model: generation agrees with the parallel form, rows do not disturb one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lllm.errors import UserError
from lllm.model import LatentModel, compose
from lllm.model.incremental import peek, prefill, push
from lllm.registry import Registry
from tests.helpers import batch, composition

COMPOSITIONS = [
    {"ratio": 1, "head": "parallel"},
    {"ratio": 1, "head": "local_ar"},
    {"ratio": 2, "downsampler": "conv", "head": "parallel"},
    {"ratio": 3, "downsampler": {"use": "conv", "kernel": 7}},
    {"ratio": 4, "mixer": {"use": "attention", "heads": 2, "kv_heads": 1}},
    {"ratio": 4, "trunk": {"use": "pattern", "depth": 3, "mixers": ["attention"]}, "ffn": "relu2"},
    {"ratio": 5, "head": {"use": "local_ar", "depth": 1}},
    {"ratio": 8},
]


def build(registry: Registry, **kwargs: object) -> LatentModel:
    return compose(registry, composition(registry, **kwargs), dtype=torch.float64).eval()  # type: ignore[arg-type]


def ragged() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of length 0..13 in one batch: tokens, lengths, ok."""
    lengths = torch.arange(14)
    tokens = torch.randint(0, 5, (14, 13), generator=torch.Generator().manual_seed(0))
    return tokens, lengths, torch.arange(13) < lengths[:, None]


@pytest.mark.parametrize("parts", COMPOSITIONS, ids=str)
def test_cached_steps_equal_the_parallel_form(registry: Registry, parts: dict[str, object]) -> None:
    model = build(registry, **parts)
    tokens, lengths, ok = ragged()
    (likelihood,) = model.likelihoods(batch(tokens, ok)).values()
    state = prefill(model, tokens[:, :0], torch.zeros(14, dtype=torch.long))
    total = torch.zeros(14, dtype=torch.float64)
    for t in range(13):
        nats = -peek(model, state).log_softmax(-1).gather(1, tokens[:, t : t + 1])[:, 0]
        total += torch.where(ok[:, t], nats, 0.0)
        state = push(model, state, tokens[:, t], ok[:, t])
    torch.testing.assert_close(total, likelihood.nats.sum(1), rtol=0, atol=1e-12)
    prefilled = prefill(model, tokens, lengths)
    torch.testing.assert_close(peek(model, prefilled), peek(model, state), rtol=0, atol=1e-12)


def test_a_token_committed_too_early_is_seen(registry: Registry) -> None:
    """Negative control: a state that counts one token more disagrees with the parallel form."""
    model = build(registry)
    tokens, lengths, _ = ragged()
    state = prefill(model, tokens, lengths)
    wrong = replace(state, count=state.count + 1)
    assert not torch.allclose(peek(model, state), peek(model, wrong))


def test_every_token_is_predicted_once(registry: Registry) -> None:
    """At initialisation-independent uniformity the total is T ln(legal): the first chunk is counted, nothing twice."""
    model = build(registry)
    with torch.no_grad():
        model.head.unembedding.weight.zero_()
    tokens, lengths, ok = ragged()
    (likelihood,) = model.likelihoods(batch(tokens, ok)).values()
    expected = lengths.double() * torch.log(torch.tensor(5.0, dtype=torch.float64))
    torch.testing.assert_close(likelihood.nats.sum(1), expected)


def test_illegal_outcomes_have_probability_zero(registry: Registry) -> None:
    model = build(registry)
    tokens, lengths, _ = ragged()
    logits = peek(model, prefill(model, tokens, lengths))
    assert torch.isneginf(logits[:, 5:]).all()
    assert torch.isfinite(logits[:, :5]).all()


def test_same_seed_same_weights_and_paths_key_the_stream(registry: Registry) -> None:
    a, b = (compose(registry, composition(registry), seed=3) for _ in range(2))
    other = compose(registry, composition(registry, head="parallel"), seed=3)
    for name, tensor in a.named_parameters():
        assert torch.equal(tensor, b.get_parameter(name))
    for name, tensor in other.trunk.named_parameters():
        assert torch.equal(tensor, a.trunk.get_parameter(name))
    third = compose(registry, composition(registry), seed=4)
    assert not torch.equal(a.embedding.table.weight, third.embedding.table.weight)  # type: ignore[union-attr]


def test_identity_refuses_other_ratios(registry: Registry) -> None:
    with pytest.raises(UserError, match=r"runs at ratio 1 only, and model\.ratio is 4"):
        compose(registry, composition(registry, downsampler="identity"))


def test_heads_must_divide(registry: Registry) -> None:
    with pytest.raises(UserError, match="heads = 3 does not divide width 8"):
        compose(registry, composition(registry, mixer={"use": "attention", "heads": 3}))


def test_conv_of_the_chunk_alone_is_concat(registry: Registry) -> None:
    """Spec a.1, a.2: a kernel as long as the ratio, without activation and pooling, is the linear concatenation."""
    conv = build(registry, downsampler={"use": "conv", "kernel": 4, "activation": "none", "pool": False}).downsampler
    concat = build(registry).downsampler
    concat.load_state_dict({name.replace("conv.", "project."): v for name, v in conv.state_dict().items()})
    windows = torch.randn(3, 5, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(conv.encode(windows), concat.encode(windows))  # type: ignore[operator]
