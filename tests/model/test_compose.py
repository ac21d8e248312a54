"""From parts to weights: ties, starting values, paths and precision survive."""

from __future__ import annotations

import math

import pytest
import torch

from lllm.errors import BuildError, UserError
from lllm.model import Build, LatentModel, compose, named_roles
from lllm.model.accounting import parameters
from lllm.model.contracts import ModelPart
from lllm.registry import Registry, register
from tests.check import ends, heads, layers, stacks
from tests.check.compositions import toy, toys
from tests.helpers import batch, composition
from tests.model import toys as own

TOKENS = torch.randint(0, 5, (3, 24), generator=torch.Generator().manual_seed(0))
STEERED = "trunk.layers.0.ffn"


@pytest.fixture(scope="module")
def known(registry: Registry) -> Registry:
    return registry.with_parts(*toys(layers, own))


@pytest.mark.parametrize("dtype", [None, torch.float64], ids=str)
def test_tied_parameters_stay_one(known: Registry, dtype: torch.dtype | None) -> None:
    choice = composition(known, head="toy_tied")
    model = compose(known, choice, dtype=dtype)
    head = model.head
    assert isinstance(head, own.TiedHead)
    assert head.tokens.weight is head.unembedding.weight
    assert [role.kind for name, _, role in named_roles(model) if name.startswith("head.")] == ["matrix", "unembedding"]
    once = sum({id(p): p.numel() for p in model.parameters()}.values())
    assert parameters(model) == parameters(compose(known, choice, device="meta")) == once
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = head.tokens.weight.detach().clone()
    model(batch(TOKENS), progress=0.0, step=0, seed=0).nats.sum().backward()
    gradient = head.unembedding.weight.grad
    assert gradient is not None
    optimizer.step()
    torch.testing.assert_close(head.tokens.weight, before - gradient)


def test_a_part_may_start_its_parameters_itself(known: Registry) -> None:
    models = [compose(known, composition(known, ffn="toy_started"), seed=seed) for seed in (3, 3, 4)]
    first, again, other = (model.trunk.get_submodule("layers.0.ffn") for model in models)
    assert isinstance(first, own.StartedFFN)
    weight = first.into.weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(8))
    assert first.decay.min() >= -6
    assert first.decay.max() <= -1
    assert torch.equal(weight, again.get_parameter("into.weight"))
    assert not torch.equal(weight, other.get_parameter("into.weight"))
    assert not torch.equal(weight, models[0].trunk.get_parameter("layers.1.ffn.into.weight"))


def test_every_part_knows_its_path(known: Registry) -> None:
    model = compose(known, composition(known))
    for path, module in model.named_modules():
        if isinstance(module, ModelPart):
            assert module.path == path
    assert model.trunk.get_submodule("layers.1.ffn").path == "trunk.layers.1.ffn"


def test_parts_of_one_kind_in_trunk_and_head_keep_their_names_apart(known: Registry) -> None:
    head = {"use": "local_ar", "depth": 1, "ffn": "toy_named"}
    model = compose(known, composition(known, ffn="toy_named", head=head, trunk={"use": "uniform", "depth": 1}))
    out = model(batch(TOKENS), progress=0.0, step=0, seed=0)
    names = {"trunk.layers.0.ffn", "head.layers.0.ffn"}
    assert set(out.aux) == set(out.statistics) == set(out.metrics) == names


def test_a_part_executed_three_times_adds_once(known: Registry) -> None:
    choice = composition(known, block="toy_sharing", trunk="toy_sharing", ffn="toy_named", head="parallel")
    out = compose(known, choice)(batch(TOKENS), progress=0.0, step=0, seed=0)
    (name,) = out.aux
    assert name == "trunk.shared.ffn"
    torch.testing.assert_close(out.statistics[name], out.aux[name].detach() / 3)
    torch.testing.assert_close(out.metrics[name], out.statistics[name])


def test_last_steers_at_evaluation(known: Registry) -> None:
    model = compose(known, composition(known, ffn="toy_named", trunk={"use": "uniform", "depth": 1}))
    rows = batch(TOKENS)
    plain, steered = (model.score(rows, last=last)[1]["autoregressive"].nats for last in (None, {STEERED: 0.0}))
    assert not torch.equal(plain, steered)
    out = model(rows, progress=1.0, step=0, seed=0, last={STEERED: 0.0})
    torch.testing.assert_close(out.nats.detach(), steered.detach())


@pytest.mark.parametrize("ratio", [1, 4])
def test_the_residual_stream_is_as_precise_as_the_parameters(known: Registry, ratio: int) -> None:
    model: LatentModel = compose(known, composition(known, ratio=ratio))
    seen: list[torch.dtype] = []
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(batch(TOKENS), progress=0.0, step=0, seed=0)
    assert seen == [torch.float32]
    half = compose(known, composition(known, ratio=ratio), dtype=torch.bfloat16)
    nats = half.score(batch(TOKENS))[1]["autoregressive"].nats
    assert math.isfinite(float(nats.detach().sum()))


@register("trunk", "toy_orphans")
class Orphans(stacks.RepeatedTrunk):
    """Runs layers that share something, and registers it nowhere."""


def test_what_is_shared_and_registered_by_none_is_refused(registry: Registry) -> None:
    known = registry.with_parts(Orphans, *toys(layers, stacks))
    with pytest.raises(BuildError, match=r"'ffn' \(SwiGLU\) is shared by layers and registered by none"):
        compose(known, toy(known, trunk="toy_orphans", block="toy_sharing"))


def test_a_prefix_does_not_go_with_learned_chunks(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers, ends, heads))
    nodes = {"visibility": "toy_prefix", "downsampler": "toy_dynamic", "head": "toy_token"}
    with pytest.raises(UserError, match="visibility 'toy_prefix' has a non-causal region, counted in chunks"):
        compose(known, toy(known, **nodes))


def test_layers_know_how_many_have_weights_of_their_own(registry: Registry) -> None:
    build = Build(registry, {}, width=8, token_width=4, ratio=4, vocab=7, illegal=())
    assert (build.at_layer(2, 4).unique, build.at_layer(2, 4).uniques) == (2, 4)
    again = build.at_layer(2, 4, unique=0, uniques=2)
    assert (again.layer, again.depth, again.unique, again.uniques) == (2, 4, 0, 2)
