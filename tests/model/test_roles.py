"""Roles and their hints."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lllm.check.subject import randomise_
from lllm.model import Build, Context, Role, State, compose, named_roles, parameter, role_of
from lllm.model.contracts import FFN, Cost
from lllm.registry import PartConfig, Registry, register
from tests.helpers import composition


@register("ffn", "toy_delicate")
class DelicateFFN(FFN):
    """A gain that half precision would spoil, and a bank of matrices stored with their inputs first."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.gain = parameter(build.width, role=Role("vector", fill=1.0, float32=True))
        self.bank = parameter(64, build.width, role=Role("matrix", std=0.1, fan_in=64))

    def forward(self, x_BND: torch.Tensor, ctx: Context, state: State | None = None) -> tuple[torch.Tensor, None]:
        return (x_BND * self.gain).to(x_BND.dtype), None

    def cost(self, n: int) -> Cost:
        """Nothing is contracted."""
        return Cost()


def build(registry: Registry, **options: Any) -> Any:
    known = registry.with_parts(DelicateFFN)
    return compose(known, composition(known, ffn="toy_delicate"), **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_delicate_parameters_are_never_of_half_precision(registry: Registry, dtype: torch.dtype) -> None:
    model = build(registry, dtype=dtype)
    for name, tensor, role in named_roles(model):
        delicate = name.endswith("gain") and "ffn" in name
        assert role.float32 == delicate
        assert tensor.dtype == (torch.float32 if delicate and dtype.itemsize < 4 else dtype), name


def test_the_fan_in_is_the_last_dimension_unless_it_is_said(registry: Registry) -> None:
    model = build(registry)
    roles = {name: role for name, _, role in named_roles(model)}
    assert roles["trunk.layers.0.ffn.bank"].fan_in == 64
    assert roles["trunk.layers.0.mixer.out.weight"].fan_in == 8
    assert roles["embedding.table.weight"].fan_in is None
    randomise_(model, 0)
    assert float(model.trunk.layers[0].ffn.bank.detach().std()) == pytest.approx(64**-0.5, rel=0.15)


def test_a_parameter_without_a_role_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a parameter of shape \(3,\) has no role"):
        role_of(torch.nn.Parameter(torch.zeros(3)))
