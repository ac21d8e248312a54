"""The context of layers over slots: what they add and draw belongs to the rows of the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from lllm.model import Context, LatentModel, compose
from lllm.model.context import told
from lllm.model.contracts import Encoded, Visibility
from lllm.model.contracts.layers import InputsState
from lllm.registry import Registry
from tests.check import ends, heads, layers, stacks
from tests.check.compositions import toy, toys
from tests.helpers import PlainRows, composition

NAMES = {"toy_noisy.0"}


def build(registry: Registry) -> LatentModel:
    """A head whose inner layer is noisy, steered and adds an auxiliary loss."""
    known = registry.with_parts(*toys(layers))
    head = {"use": "local_ar", "depth": 1, "width": 8, "ffn": "toy_noisy"}
    return compose(known, composition(known, head=head), dtype=torch.float64)


def rows(select: slice = slice(None)) -> PlainRows:
    tokens = torch.randint(0, 5, (3, 24), generator=torch.Generator().manual_seed(0))
    ok = torch.arange(24) < torch.tensor([24, 6, 0])[:, None]
    return PlainRows(tokens[select], ok[select], torch.tensor([7, 8, 9])[select], torch.zeros(3).long()[select])


def test_what_inner_layers_add_is_per_row_of_the_data(registry: Registry) -> None:
    out = build(registry)(rows(), progress=0.0, step=0, seed=0)
    for kind in (out.aux, out.statistics):
        assert set(kind) == NAMES
        value = kind["toy_noisy.0"]
        assert value.shape == (3,)
        assert (value[:2] > 0).all()
        assert value[2] == 0  # a row without tokens has nothing to average
    assert out.aux["toy_noisy.0"].requires_grad
    assert out.metrics["toy_noisy.0"].dim() == 0


def test_inner_noise_is_keyed_by_row_and_chunk(registry: Registry) -> None:
    model = build(registry)
    whole = model(rows(), progress=0.0, step=0, seed=0)
    for select in (slice(0, 1), slice(1, 3)):
        part = model(rows(select), progress=0.0, step=0, seed=0)
        torch.testing.assert_close(part.nats, whole.nats[select], rtol=0, atol=1e-12)
        torch.testing.assert_close(part.aux["toy_noisy.0"], whole.aux["toy_noisy.0"][select], rtol=0, atol=1e-12)
    assert not torch.equal(whole.nats, model(rows(), progress=0.0, step=1, seed=0).nats)
    assert not torch.equal(whole.nats, model(rows(), progress=0.0, step=0, seed=1).nats)
    steered = model(rows(), progress=0.0, step=0, seed=0, last=dict.fromkeys(NAMES, 0.0))
    assert not torch.equal(whole.nats, steered.nats)


def test_a_local_context_folds_rows_and_chunks() -> None:
    ok = torch.tensor([[[True, True], [True, False], [False, False]], [[True, False], [False, False], [False, False]]])
    outer = Context.of(torch.ones(2, 3, dtype=torch.bool), Visibility(), rows=torch.tensor([5, 6]))
    inner = outer.local(ok)
    assert inner.rows.tolist() == [[5, 0], [5, 1], [5, 2], [6, 0], [6, 1], [6, 2]]
    assert inner.ok[:, 0].all()
    assert inner.ok.tolist()[:2] == [[True, True], [True, False]]
    assert inner.pos.tolist() == [[0, 1]] * 6
    inner.add_aux("loss", torch.tensor([1.0, 3.0, 50.0, 7.0, 50.0, 50.0]))
    assert told(outer).aux["loss"].tolist() == [2.0, 7.0]
    drawn = inner.noise.normal("x", inner.rows, 2)
    assert len({tuple(draw) for draw in drawn.tolist()}) == 6
    assert torch.equal(drawn[4], inner.noise.normal("x", inner.rows[4:5], 2)[0])


def test_one_name_added_often_is_summed_or_averaged() -> None:
    ctx = Context.of(torch.ones(2, 3, dtype=torch.bool), Visibility())
    for value in (1.0, 2.0, 6.0):
        for add in (ctx.add_aux, ctx.add_statistic, ctx.add_metric):
            add("name", torch.tensor([value, 0.0], requires_grad=True))
    assert told(ctx).aux["name"].tolist() == [9.0, 0.0]
    assert told(ctx).statistics["name"].tolist() == told(ctx).metrics["name"].tolist() == [3.0, 0.0]
    assert told(ctx).aux["name"].requires_grad
    assert not told(ctx).statistics["name"].requires_grad


def test_gathering_takes_what_belongs_to_the_positions_and_leaves_what_is_of_the_row() -> None:
    ctx = Context.of(torch.ones(2, 4, dtype=torch.bool), Visibility(), segment=torch.arange(8).view(2, 4))
    lent, cache = torch.arange(24.0).view(2, 4, 3), InputsState(*[torch.zeros(2, 9)] * 4, {})
    ctx = replace(ctx, memory={"stream": lent, "cache": cache}, wanted=ctx.pos == 3)
    index = torch.tensor([[3, 1], [0, 2]])
    some = ctx.gather(index)
    assert some.pos.tolist() == index.tolist()
    assert some.segment.tolist() == [[3, 1], [4, 6]]
    assert some.wanted is not None
    assert some.wanted.tolist() == [[True, False], [False, False]]
    assert torch.equal(some.memory["stream"], torch.stack([lent[0, [3, 1]], lent[1, [0, 2]]]))  # type: ignore[arg-type]
    assert some.memory["cache"] is cache


def test_counts_are_summed_over_calls_and_over_the_chunks_of_a_row() -> None:
    ctx = Context.of(torch.ones(2, 2, dtype=torch.bool), Visibility())
    ctx.add_count("kept", torch.tensor([3.0, 1.0]))
    ctx.add_count("kept", torch.tensor([1.0, 1.0]))
    ok = torch.tensor([[[True], [True]], [[True], [False]]])
    ctx.local(ok).add_count("inside", torch.tensor([1.0, 2.0, 4.0, 8.0]))
    assert {name: value.tolist() for name, value in told(ctx).counts.items()} == {
        "kept": [4.0, 2.0],
        "inside": [3.0, 4.0],
    }


def documents(registry: Registry, **nodes: Any) -> tuple[LatentModel, PlainRows, PlainRows]:
    """A row of two documents of 8 tokens, and another first document before the same second one."""
    known = registry.with_parts(*toys(layers, ends, stacks))
    model = compose(known, toy(known, mixer="toy_document", **nodes), dtype=torch.float64)
    tokens = torch.randint(0, 5, (1, 16), generator=torch.Generator().manual_seed(0))
    other = torch.cat([(tokens[:, :8] + 1) % 5, tokens[:, 8:]], 1)

    class TwoDocuments(PlainRows):
        @property
        def segment(self) -> torch.Tensor:
            return (torch.arange(16) >= 8).long()[None]

    ok, row = torch.ones_like(tokens, dtype=torch.bool), torch.zeros(1, dtype=torch.long)
    return model, TwoDocuments(tokens, ok, row, row), TwoDocuments(other, ok, row, row)


def test_layers_know_the_document_of_each_latent(registry: Registry) -> None:
    """Position p holds chunk p - 1: 3 is the first that holds a chunk of the second document."""
    model, rows, other = documents(registry)
    nats, changed = (model.likelihoods(r)["independent"].nats[0] for r in (rows, other))
    assert nats[2] != changed[2]  # what predicts the second document's first chunk holds the first one's last
    assert nats[3] == changed[3]
    plain = PlainRows(other.tokens, other.ok, other.rows, other.prompt)  # one document, as far as it knows
    assert nats[3] != model.likelihoods(plain)["independent"].nats[0, 3]


def test_the_document_of_a_latent_of_learned_length_is_that_of_its_tokens(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers, ends, heads))
    model = compose(known, toy(known, downsampler="toy_dynamic", head="toy_token"), dtype=torch.float64)
    owner = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 3]])
    encoded = Encoded(torch.zeros(1, 8, 8), torch.ones(1, 8, dtype=torch.bool), owner=owner)
    segment = torch.tensor([[5, 5, 5, 5, 5, 9, 9, 9]])
    ctx = Context.of(torch.ones(1, 8, dtype=torch.bool), Visibility(), segment=segment)
    _, latent = model.trunk_input(encoded, ctx)
    assert latent.segment[0, :5].tolist() == [5, 5, 5, 9, 9]


def test_parts_at_token_rate_are_causal_whatever_the_visibility(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers, ends, heads))
    seen = []
    nodes = {"visibility": "toy_prefix", "downsampler": "toy_tokens", "head": "toy_token"}
    model = compose(known, toy(known, **nodes), dtype=torch.float64)
    for part in (model.embedding, model.downsampler, model.trunk):
        part.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].visibility))
    x = model.hidden(torch.zeros(1, 8, dtype=torch.long), torch.ones(1, 8, dtype=torch.bool), torch.tensor([1]))
    assert [type(rule) for rule in [*seen, x.ctx.visibility]] == [
        Visibility,
        Visibility,
        type(model.visibility),
        Visibility,
    ]
