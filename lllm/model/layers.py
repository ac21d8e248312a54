"""The few layers every part uses: they carry roles, count their FLOPs and build on the meta device."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lllm.kernels.rms_norm import rms_norm
from lllm.model.roles import Role, parameter

__all__ = ["Linear", "RMSNorm", "TokenTable"]


class Linear(nn.Module):
    """y = x W^T (+ b). `gain` scales the standard deviation 1/sqrt(fan_in) of W; gain 0 starts at zero. `blocks`: W is
    so many matrices of one size in one product, see `Role`."""

    def __init__(self, fan_in: int, fan_out: int, *, bias: bool = False, gain: float = 1.0, blocks: int = 1) -> None:
        super().__init__()
        self.fan_in, self.fan_out = fan_in, fan_out
        self.weight = parameter(fan_out, fan_in, role=Role("matrix", std=gain * fan_in**-0.5, blocks=blocks))
        self.bias = parameter(fan_out, role=Role("vector", decay=False)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def flops(self, n: int) -> int:
        """Contraction FLOPs for n positions: 2 per weight."""
        return 2 * n * self.fan_in * self.fan_out


class RMSNorm(nn.Module):
    """x / rms(x) over the last dimension (arXiv:1910.07467), without a gain: the map that follows has its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x)


class TokenTable(nn.Module):
    """How tokens enter a model: ids [...] -> [..., d]."""

    def __init__(self, vocab: int, width: int, std: float = 1.0) -> None:
        super().__init__()
        self.weight = parameter(vocab, width, role=Role("embedding", std=std, decay=False))

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.weight)
