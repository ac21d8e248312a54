"""The composed model: generation agrees with the parallel form, rows do not disturb one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from lllm.errors import UserError
from lllm.model import LatentModel, ModelState, State, compose
from lllm.model.contracts import Step, WindowDownsampler, WindowState
from lllm.model.incremental import peek, prefill, push
from lllm.model.state import map_tensors
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


@torch.no_grad()
def largest_gap(model: LatentModel, tokens: torch.Tensor, damage: Callable[[ModelState], ModelState]) -> float:
    """Of a next token's nats between the parallel form and steps whose state is damaged after each token."""
    batch_size, length = tokens.shape
    (likelihood,) = model.likelihoods(batch(tokens)).values()
    assert likelihood.slots is not None
    want = likelihood.slots.flatten(1)[:, :length]
    state = prefill(model, tokens[:, :0], torch.zeros(batch_size, dtype=torch.long))
    largest = 0.0
    for t in range(length):
        nats = -peek(model, state).log_softmax(-1).gather(1, tokens[:, t : t + 1])[:, 0]
        largest = max(largest, float((nats - want[:, t]).abs().max()))
        state = damage(push(model, state, tokens[:, t], torch.ones(batch_size, dtype=torch.bool)))
    return largest


def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * 1.01 if x.is_floating_point() else x


DAMAGES: dict[str, Callable[[ModelState], ModelState]] = {
    "the trunk's cache": lambda s: replace(s, trunk=map_tensors(s.trunk, scaled)),
    "the downsampler's tail": lambda s: replace(s, downsampler=map_tensors(s.downsampler, lambda x: x.roll(1, 0))),
    "the rows' latents": lambda s: replace(s, opened=s.opened.roll(1, 0)),
    "the open chunk": lambda s: replace(s, chunk=s.chunk.flip(1)),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_state_is_seen(registry: Registry, what: str) -> None:
    """Negative control of the comparison above: the same steps with one part of the state spoiled."""
    model, (tokens, *_) = build(registry), ragged()
    assert largest_gap(model, tokens, lambda state: state) < 1e-12
    assert largest_gap(model, tokens, DAMAGES[what]) > 1e-6


def test_a_latent_committed_too_early_is_seen(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the trunk is given a chunk whose last token is missing."""
    model, (tokens, *_) = build(registry), ragged()
    down = model.downsampler
    assert isinstance(down, WindowDownsampler)
    step = down.step

    def early(e_Bd: torch.Tensor, ok: torch.Tensor, state: State) -> Step:
        made = step(e_Bd, ok, state)
        assert isinstance(made.state, WindowState)
        return replace(made, latent=down.encode(made.state.tail), done=made.state.count % 4 == 3)

    monkeypatch.setattr(down, "step", early)
    assert largest_gap(model, tokens, lambda state: state) > 1e-6


def test_ratio_8_agrees_beyond_its_second_chunk(registry: Registry) -> None:
    model = build(registry, ratio=8)
    tokens = torch.randint(0, 5, (3, 43), generator=torch.Generator().manual_seed(0))
    assert largest_gap(model, tokens, lambda state: state) < 1e-12
    lengths = torch.tensor([0, 17, 43])
    state = prefill(model, tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        pushed = prefill(model, tokens[:1, :0], torch.zeros(1, dtype=torch.long))
        for t in range(length):
            pushed = push(model, pushed, tokens[row, t : t + 1], torch.ones(1, dtype=torch.bool))
        torch.testing.assert_close(peek(model, state)[row], peek(model, pushed)[0], rtol=0, atol=1e-12)


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


def test_the_local_head_reads_directions_of_the_latent(registry: Registry) -> None:
    """The trunk's stream grows with its depth; what the slots are told must not grow with it."""
    head = build(registry).head
    hidden = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(head.open(hidden), head.open(50 * hidden), rtol=0, atol=1e-5)
    assert not torch.allclose(head.open(hidden), head.open(hidden.flip(1)))
