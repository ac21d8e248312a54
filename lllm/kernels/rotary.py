"""Rotary position embedding (arXiv:2104.09864), halves paired."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["rotary_table", "rotate", "rotate_reference"]


@torch.library.custom_op("lllm::rotary_table", mutates_args=())
def rotary_table(pos: Tensor, size: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines [..., size / 2] of positions [...]; angles in float64.

    An operator of its own, so that a compiler does not fuse it into its users, where it would be computed anew for
    every row, head and layer.
    """
    exponent = torch.arange(size // 2, device=pos.device, dtype=torch.float64) / (size // 2)
    angle = pos[..., None].double() * base**-exponent
    return angle.cos().to(dtype), angle.sin().to(dtype)


@rotary_table.register_fake
def _(pos: Tensor, size: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    made = pos.new_empty((*pos.shape, size // 2), dtype=dtype)
    return made, torch.empty_like(made)


def rotate_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs (x_i, x_{i + size/2}) of x [..., size] turned by their angles; cos and sin broadcast to [..., size / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The same, in half the passes over memory where nothing fuses them."""
    if x.is_cuda or x.is_meta or torch.compiler.is_compiling():
        return rotate_reference(x, cos, sin)
    y: Tensor = _Rotate.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return y


class _Rotate(torch.autograd.Function):
    """An orthogonal map: its gradient is the turn by the opposite angles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        half = x.shape[-1] // 2
        a, b = x[..., :half], x[..., half:]
        y = torch.empty_like(x)
        torch.mul(a, cos, out=y[..., :half]).addcmul_(b, sin, value=-1)
        torch.mul(b, cos, out=y[..., half:]).addcmul_(a, sin)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return rotate(grad, cos, -sin), None, None
