"""Random streams keyed by what they are for, so that micro-batches, world size and resume cannot change them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lllm.model.roles import named_roles

__all__ = ["Noise", "initialise", "stream"]


def stream(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by a stable hash of `key` (blake2b; never Python's `hash`, which changes per process)."""
    digest = hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@dataclass(frozen=True)
class Noise:
    """In-model noise of one step: each row draws from (seed, purpose, step, global row)."""

    seed: int = 0
    step: int = 0

    def uniform(self, purpose: str, rows: Tensor, *shape: int) -> Tensor:
        """Uniform [0, 1) draws, [B, *shape]; `rows` [B] are global row ids."""
        draws = [torch.rand(shape, generator=stream(self.seed, purpose, self.step, row)) for row in rows.tolist()]
        return torch.stack(draws).to(rows.device)

    def normal(self, purpose: str, rows: Tensor, *shape: int) -> Tensor:
        """Standard normal draws, [B, *shape]; `rows` [B] are global row ids."""
        draws = [torch.randn(shape, generator=stream(self.seed, purpose, self.step, row)) for row in rows.tolist()]
        return torch.stack(draws).to(rows.device)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Fill every parameter from the stream of (seed, its path): variants start alike where they are alike. Buffers are
    zero, unless their part's `fill_buffers_` says otherwise."""
    for name, tensor, role in named_roles(model):
        if role.std:
            drawn = torch.randn(tensor.shape, generator=stream(seed, "init", name))
            tensor.copy_(drawn * role.std)
        else:
            tensor.fill_(role.fill)
    for buffer in model.buffers():
        buffer.zero_()
    for module in model.modules():
        fill = getattr(module, "fill_buffers_", None)
        if fill is not None:
            fill()
