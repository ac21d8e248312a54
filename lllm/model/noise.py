"""Random streams keyed by what they are for, so that micro-batches, world size and resume cannot change them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

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
    """In-model noise of one step: each row draws from (seed, purpose, step, global row).

    `rows` below are what a context's `rows` are: [B] global row ids, or [B, k] keys of k numbers.
    """

    seed: int = 0
    step: int = 0

    def uniform(self, purpose: str, rows: Tensor, *shape: int) -> Tensor:
        """Uniform [0, 1) draws, [B, *shape]."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._streams(purpose, rows)]).to(rows.device)

    def normal(self, purpose: str, rows: Tensor, *shape: int) -> Tensor:
        """Standard normal draws, [B, *shape]."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._streams(purpose, rows)]).to(rows.device)

    def _streams(self, purpose: str, rows: Tensor) -> Iterator[torch.Generator]:
        keys = rows.view(len(rows), -1).tolist()
        return (stream(self.seed, purpose, self.step, *key) for key in keys)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Fill every parameter from the stream of (seed, its path): variants start alike where they are alike. Buffers are
    zero. Then each part's `initialise_` and `fill_buffers_` may say otherwise."""
    for name, tensor, role in named_roles(model):
        if role.std:
            drawn = torch.randn(tensor.shape, generator=stream(seed, "init", name))
            tensor.copy_(drawn * role.std)
        else:
            tensor.fill_(role.fill)
    for buffer in model.buffers():
        buffer.zero_()
    for path, module in model.named_modules():
        if hasattr(module, "initialise_"):
            module.initialise_(partial(stream, seed, "init", path))
        if hasattr(module, "fill_buffers_"):
            module.fill_buffers_()
