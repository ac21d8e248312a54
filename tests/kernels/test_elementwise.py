"""Fast forms against their references: values, first and second derivatives, odd sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lllm.kernels.rms_norm import rms_norm, rms_norm_reference
from lllm.kernels.rotary import rotary_table, rotate, rotate_reference
from lllm.kernels.squared_relu import squared_relu, squared_relu_reference

Form = Callable[[Tensor], Tensor]


def _turned(form: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Form:
    def turn(x: Tensor) -> Tensor:
        cos, sin = rotary_table(torch.arange(x.shape[-2]) + 5, x.shape[-1], 100.0, x.dtype)
        return form(x, cos, sin)

    return turn


PAIRS = {
    "rms_norm": (rms_norm, rms_norm_reference),
    "squared_relu": (squared_relu, squared_relu_reference),
    "rotate": (_turned(rotate), _turned(rotate_reference)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", [(1, 2), (3, 5, 6), (2, 3, 7, 10)])
def test_fast_form_is_the_reference(name: str, shape: tuple[int, ...]) -> None:
    fast, reference = PAIRS[name]
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fast(x), reference(x), rtol=0, atol=1e-14)
    grads = [torch.autograd.grad((form(x) * weight).sum(), x)[0] for form in (fast, reference)]
    torch.testing.assert_close(*grads, rtol=0, atol=1e-13)
    assert torch.autograd.gradgradcheck(fast, x)


@pytest.mark.parametrize("name", PAIRS)
def test_transposed_inputs(name: str) -> None:
    fast, reference = PAIRS[name]
    x = torch.randn(4, 6, 3, 8, dtype=torch.float64).transpose(1, 2)
    torch.testing.assert_close(fast(x), reference(x), rtol=0, atol=1e-14)


def test_a_wrong_gradient_would_be_seen() -> None:
    """Negative control: forgetting that the scale depends on x changes the gradient."""
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    scale = (rms_norm(x) / x).detach()
    wrong = torch.autograd.grad((x * scale).square().sum(), x)[0]
    right = torch.autograd.grad(rms_norm(x).square().sum(), x)[0]
    assert not torch.allclose(wrong, right)


def test_zero_is_finite() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    rms_norm(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
