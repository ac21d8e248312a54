"""FLOPs of a part that declares none: counted by torch on the meta device, where nothing is computed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["counted"]


def counted(module: nn.Module, call: Callable[[nn.Module, Tensor], object], n: int, width: int) -> int:
    """FLOPs of `call(copy of module, x [1, n, width])` as torch's counter sees them (matmul, einsum, attention)."""
    empty = copy.deepcopy(module).to("meta")
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        call(empty, torch.empty(1, n, width))
    return int(counter.get_total_flops())
