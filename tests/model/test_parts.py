"""Parts against what their papers define."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.errors import UserError
from lllm.model import Build, Context, initialise
from lllm.model.accounting import forward_cost
from lllm.model.compose import compose
from lllm.model.contracts import FFN, Mixer, Visibility
from lllm.registry import Registry
from tests.helpers import composition

SIZE = 8  # of a head


def build(registry: Registry, width: int = 32) -> Build:
    return Build(registry, {}, width, width, 4, 7, ())


def mixer(registry: Registry, width: int = 32, dtype: torch.dtype = torch.float64, **config: object) -> Mixer:
    made: Mixer = build(registry, width).part("mixer", {"use": "attention", **config})
    initialise(made, 0)
    return made.to(dtype)


def ffn(registry: Registry, name: str) -> FFN:
    made: FFN = build(registry).part("ffn", name)
    initialise(made, 0)
    return made.double()


def context(n: int, start: int = 0, batch: int = 2) -> Context:
    ctx = Context.of(torch.ones(batch, n, dtype=torch.bool), Visibility())
    return replace(ctx, pos=ctx.pos + start)


def inputs(n: int = 9, width: int = 32) -> Tensor:
    return torch.randn(2, n, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("groups", [1, 2])
def test_grouped_queries_are_many_heads_with_repeated_keys_and_values(registry: Registry, groups: int) -> None:
    """arXiv:2305.13245: each key and value head serves heads / groups neighbouring query heads."""
    grouped = mixer(registry, heads=4, kv_heads=groups)
    full = mixer(registry, heads=4)
    weight = grouped.get_parameter("qkv.weight").view(4 + 2 * groups, SIZE, 32)
    q, k, v = weight.split([4, groups, groups])
    repeated = torch.cat([q, k.repeat_interleave(4 // groups, 0), v.repeat_interleave(4 // groups, 0)]).flatten(0, 1)
    full.load_state_dict({"qkv.weight": repeated, "out.weight": grouped.get_parameter("out.weight")})
    for ctx in (context(9), replace(context(9), tail_only=False)):
        torch.testing.assert_close(grouped(inputs(), ctx)[0], full(inputs(), ctx)[0], rtol=0, atol=1e-12)


def test_attention_is_softmax_of_rotated_products(registry: Registry) -> None:
    """Equation 1 of arXiv:1706.03762 over queries and keys turned by position (arXiv:2104.09864, section 3.2.2), head
    by head, as complex numbers."""
    part, x = mixer(registry, heads=4, qk_norm=False), inputs()
    q, k, v = (part.get_parameter("qkv.weight") @ x.mT).mT.view(2, 9, 3, 4, SIZE).unbind(2)
    turn = torch.outer(torch.arange(9.0, dtype=torch.float64), 10_000.0 ** (-torch.arange(4) / 4).double())
    turn = torch.polar(torch.ones_like(turn), turn)[:, None]
    q, k = (torch.complex(*y.chunk(2, -1)) * turn for y in (q, k))
    logits = torch.einsum("bqhi,bkhi->bhqk", q, k.conj()).real / SIZE**0.5
    weights = logits.masked_fill(~torch.ones(9, 9).tril().bool(), float("-inf")).softmax(-1)
    want = torch.einsum("bhqk,bkhi->bqhi", weights, v).flatten(2) @ part.get_parameter("out.weight").T
    torch.testing.assert_close(part(x, context(9))[0], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [1, 1000])
def test_only_relative_positions_matter(registry: Registry, shift: int) -> None:
    part = mixer(registry, heads=4)
    here, there = (part(inputs(), context(9, start))[0] for start in (0, shift))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-10)
    stretched = replace(context(9), pos=2 * context(9).pos)
    assert not torch.allclose(here, part(inputs(), stretched)[0])


def test_normed_queries_and_keys_bound_the_logits(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """arXiv:2010.04245: however large the inputs, no logit exceeds gain * sqrt(head size)."""
    largest = []

    def spy(q: Tensor, k: Tensor, v: Tensor, *, scale: float, **options: object) -> Tensor:
        largest.append(float((scale * q @ k.mT).abs().max().detach()))
        return v.new_zeros(q.shape)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    for normed in (True, False):
        mixer(registry, heads=4, qk_gain=1.5, qk_norm=normed)(1e4 * inputs(64), context(64))
    assert 0.5 * 1.5 * SIZE**0.5 < largest[0] <= 1.5 * SIZE**0.5 + 1e-9 < largest[1]


def test_gated_and_squared_ffns(registry: Registry) -> None:
    """arXiv:2002.05202, equation 6, and arXiv:2109.08668, section 3."""
    x, ctx = inputs(), context(9)
    part = ffn(registry, "swiglu")
    gate, value = part.get_parameter("gate_in.weight").chunk(2)
    a = x @ gate.T
    want = (a * torch.sigmoid(a) * (x @ value.T)) @ part.get_parameter("out.weight").T
    torch.testing.assert_close(part(x, ctx)[0], want, rtol=0, atol=1e-12)
    part = ffn(registry, "relu2")
    want = (x @ part.get_parameter("into.weight").T).clamp(min=0) ** 2 @ part.get_parameter("out.weight").T
    torch.testing.assert_close(part(x, ctx)[0], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (48, 1), (64, 2), (96, 3), (112, 4), (250, 5), (512, 16)])
def test_any_even_width_has_default_heads(registry: Registry, width: int, heads: int) -> None:
    part = mixer(registry, width)
    assert part.heads == heads
    assert part(inputs(3, width), context(3))[0].shape == (2, 3, width)


def test_an_odd_width_is_refused(registry: Registry) -> None:
    with pytest.raises(UserError, match="heads = 1 does not divide width 33 into heads of even size"):
        mixer(registry, 33)


def test_far_positions_stay_apart_in_half_precision(registry: Registry) -> None:
    """Positions above 256 are not all bfloat16 numbers: tables in half precision would turn neighbours alike."""
    part, x = mixer(registry, dtype=torch.bfloat16, heads=4), inputs().bfloat16()
    y, state = part(x, context(9, 1000))
    assert y.dtype == state.k.dtype == state.v.dtype == torch.bfloat16
    ctx = context(9, 1000)
    part(x, ctx)
    for cos, sin in ctx.memo.values():
        assert cos.dtype == sin.dtype == torch.float32
    exact = mixer(registry, heads=4)(x.double(), context(9, 1000))[0]
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=0.03)
    carried = part(x[:, :5], context(5, 1000))[1]
    again, _ = part(x[:, 5:], context(4, 1005), carried)
    torch.testing.assert_close(again, y[:, 5:], rtol=0, atol=0.03)


def test_autocast_gives_attention_one_precision(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        seen.append({q.dtype, k.dtype, v.dtype})
        return v

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    with torch.autocast("cpu", torch.bfloat16):
        mixer(registry, dtype=torch.float32, heads=4)(inputs().float(), context(9))
    assert seen == [{torch.bfloat16}]


EXAMPLE = {"width": 512, "vocab": 32768, "illegal": (), "trunk": {"use": "uniform", "depth": 12}}


@pytest.mark.parametrize(
    ("ratio", "head", "components", "total"),
    [
        (1, {"use": "parallel", "hidden": 0}, {"linear": 75.5, "pairs": 12.6, "slots": 0.0, "down": 0.0}, 121.7),
        (4, "parallel", {"linear": 18.9, "pairs": 0.8, "slots": 4.2, "down": 0.5}, 58.0),
    ],
)
def test_a_worked_example_of_forward_flops(
    registry: Registry, ratio: int, head: object, components: dict[str, float], total: float
) -> None:
    """Forward MFLOP per token at d = D = 512, 12 layers, 1024 tokens, 32768 ids, SwiGLU of 8/3 of the width: a token
    model beside 4:1 concatenation with parallel heads, whose unembedding is more than half of it."""
    choice = replace(composition(registry, ratio=ratio, head=head, mixer="attention", **EXAMPLE), token_width=512)  # type: ignore[arg-type]
    model = compose(registry, choice, device="meta")
    n = 1024 // ratio
    pairs = 12 * 2 * 512 * n * (n + 1)  # two products of width 512 for each visible pair
    unembedding = 2 * 1024 * 512 * 32768
    found = {
        "linear": model.trunk.cost(n).flops - pairs,
        "pairs": pairs,
        "slots": model.head.cost(n).flops - unembedding,
        "down": model.downsampler.cost(n).flops,
    }
    assert sum(found.values()) + unembedding == forward_cost(model, 1024).flops
    per_token = {name: flops / 1024 / 1e6 for name, flops in found.items()}
    assert per_token == pytest.approx(components, abs=0.11)  # 8/3 of 512 is rounded up to a multiple of 8
    assert forward_cost(model, 1024).flops / 1024 / 1e6 == pytest.approx(total, abs=0.06)
