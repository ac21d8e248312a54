"""What generation carries: one step of the local layers per token, states that steer, prompts that can be continued."""

from __future__ import annotations

import pytest
import torch

from lllm.errors import UserError
from lllm.model import LatentModel, compose
from lllm.model.contracts import Head
from lllm.model.generate import generate
from lllm.model.incremental import draw, peek, prefill, push
from lllm.model.noise import stream
from lllm.model.sampling import Sampling
from lllm.registry import Registry
from tests.check import ends, heads, layers
from tests.check.compositions import toys
from tests.helpers import batch, composition
from tests.model import toys as own


@pytest.fixture(scope="module")
def known(registry: Registry) -> Registry:
    return registry.with_parts(*toys(layers, ends, heads, own))


def build(known: Registry, **parts: object) -> LatentModel:
    return compose(known, composition(known, **parts), dtype=torch.float64).eval()  # type: ignore[arg-type]


def ragged(count: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(0, 5, (count, longest), generator=torch.Generator().manual_seed(0))
    return tokens, torch.arange(count) * longest // max(1, count - 1)


def sampling(rows: int, temperature: float) -> Sampling:
    return Sampling([stream(0, "test", row) for row in range(rows)], temperature)


LOCAL = [
    {"ratio": 4},
    {"ratio": 7, "head": {"use": "local_ar", "depth": 1}},
    {"ratio": 5, "head": {"use": "local_ar", "width": 8, "mixer": "toy_decay", "ffn": "toy_shift"}},
    {"ratio": 3, "head": {"use": "local_ar", "mixer": "toy_parallel"}},
]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("parts", LOCAL, ids=str)
@torch.no_grad()
def test_a_chunk_drawn_with_a_cache_is_that_drawn_without(
    known: Registry, parts: dict[str, object], temperature: float
) -> None:
    model = build(known, **parts)
    tokens, lengths = ragged(14, 13)
    state = prefill(model, tokens, lengths)
    cached, counts = draw(model, state, sampling(14, temperature))
    assert set(counts.tolist()) == set(range(model.ratio))
    for row, (length, chunk) in enumerate(zip(lengths.tolist(), cached.tolist(), strict=True)):
        alone = prefill(model, tokens[row : row + 1], lengths[row : row + 1])
        picks = sampling(14, temperature).generators[row : row + 1]
        for slot in range(length % model.ratio, model.ratio):
            drawn = Sampling(picks, temperature)(peek(model, alone), torch.ones(1, dtype=torch.bool))
            assert int(drawn) == chunk[slot]
            alone = push(model, alone, drawn, torch.ones(1, dtype=torch.bool))


def test_each_token_is_one_step_of_the_local_layers(known: Registry) -> None:
    model = build(known)
    slots: list[int] = []
    chunks: list[int] = []
    model.head.get_submodule("layers.0").register_forward_pre_hook(lambda _, inputs: slots.append(inputs[0].shape[1]))
    model.head.get_submodule("up").register_forward_pre_hook(lambda _, inputs: chunks.append(len(inputs[0])))
    for _ in generate(model, [[]], 12):
        pass
    assert slots == [1] * 12
    assert chunks == [1] * 3  # once for each chunk


def test_a_head_runs_at_most_its_slots_for_a_partly_known_chunk(known: Registry) -> None:
    model = build(known)
    slots: list[int] = []
    model.head.get_submodule("layers.0").register_forward_pre_hook(lambda _, inputs: slots.append(inputs[0].shape[1]))
    tokens, _ = ragged(2, 3)
    draw(model, prefill(model, tokens, torch.tensor([3, 2])), sampling(2, 1.0))
    assert slots == [3, 1]


@torch.no_grad()
def test_the_open_token_is_read_where_a_row_ends(known: Registry) -> None:
    """At token rate a head reads the token before its target: that token is there, though the target is not."""
    model = build(known, downsampler="toy_tokens", head="toy_token_stateful", ratio=3)
    tokens, lengths = ragged(9, 11)
    ok = torch.arange(11) < lengths[:, None]
    item = (0, frozenset[int]())
    none = torch.zeros(9, dtype=torch.long)
    x = model.hidden(tokens, ok, none)
    whole = model.head.conditionals(model.hidden(tokens, torch.ones_like(ok), none), [item])[item]
    short = model.head.conditionals(x, [item])[item]
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(short[row, : length + 1], whole[row, : length + 1], rtol=0, atol=1e-12)
    assert torch.equal(x.ctx.ok[:, 1:11], ok[:, :10])
    assert x.ctx.ok[:, 0].all()
    assert torch.equal(x.ok[:, :11, 0], ok)


@torch.no_grad()
def test_last_steers_generation_as_it_does_the_parallel_form(known: Registry) -> None:
    model = build(known, ffn="toy_named", ratio=2)
    tokens, _ = ragged(3, 9)
    last = {"trunk.layers.0.ffn": 0.25, "trunk.layers.1.ffn": -2.0}
    want = model.score(batch(tokens), last=last)[1]["autoregressive"].nats.sum(1)
    state = prefill(model, tokens[:, :0], torch.zeros(3, dtype=torch.long), last=last)
    total = torch.zeros(3, dtype=torch.float64)
    for t in range(9):
        if t == 3:  # whether prompts are pushed or prefilled
            state = prefill(model, tokens[:, :3], torch.full((3,), 3), last=last)
        total -= peek(model, state).log_softmax(-1).gather(1, tokens[:, t : t + 1])[:, 0]
        state = push(model, state, tokens[:, t], torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(total, want, rtol=0, atol=1e-12)
    plain = model.score(batch(tokens))[1]["autoregressive"].nats.sum(1)
    assert not torch.allclose(plain, want)
    steered, other = (list(generate(model, [[1, 2]] * 4, 8, last=given)) for given in (last, None))
    assert steered != other


def test_a_head_that_draws_whole_chunks_says_so(known: Registry) -> None:
    model = build(known, head="toy_whole", ratio=3)
    with pytest.raises(UserError, match=r"prompt 1 = 4 tokens: model\.head 'toy_whole' draws whole chunks .* of 3$"):
        list(generate(model, [[1, 2, 3], [1, 2, 3, 4]], 6))
    new = list(generate(model, [[], [1, 2, 3]], 7))
    assert [[len(ids) for ids in rows] for rows in new] == [[3, 3], [3, 3], [1, 1]]


def test_the_default_head_opens_to_the_latent(known: Registry) -> None:
    model = build(known, head="toy_var")
    assert type(model.head).open is Head.open
    tokens, lengths = ragged(4, 9)
    state = prefill(model, tokens, lengths)
    assert torch.equal(state.opened, state.hidden)
