"""The context of layers over slots: what they add and draw belongs to the rows of the data."""

from __future__ import annotations

import torch

from lllm.model import Context, LatentModel, compose
from lllm.model.contracts import Visibility
from lllm.registry import Registry
from tests.check import layers
from tests.check.compositions import toys
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
    assert outer.aux["loss"].tolist() == [2.0, 7.0]
    drawn = inner.noise.normal("x", inner.rows, 2)
    assert len({tuple(draw) for draw in drawn.tolist()}) == 6
    assert torch.equal(drawn[4], inner.noise.normal("x", inner.rows[4:5], 2)[0])


def test_one_name_added_often_is_summed_or_averaged() -> None:
    ctx = Context.of(torch.ones(2, 3, dtype=torch.bool), Visibility())
    for value in (1.0, 2.0, 6.0):
        for add in (ctx.add_aux, ctx.add_statistic, ctx.add_metric):
            add("name", torch.tensor([value, 0.0], requires_grad=True))
    assert ctx.aux["name"].tolist() == [9.0, 0.0]
    assert ctx.statistics["name"].tolist() == ctx.metrics["name"].tolist() == [3.0, 0.0]
    assert ctx.aux["name"].requires_grad
    assert not ctx.statistics["name"].requires_grad
