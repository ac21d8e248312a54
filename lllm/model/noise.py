"""Random streams keyed by what they are for, so that micro-batches, world size and resume cannot change them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lllm.model.roles import named_roles

__all__ = ["Noise", "initialise", "stream"]


def stream(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by a stable hash of `key` (blake2b; never Python's `hash`, which changes per process)."""
    return torch.Generator().manual_seed(int.from_bytes(_digest(*key), "little") >> 1)


@dataclass(frozen=True)
class Noise:
    """In-model noise of one step: each row draws from (seed, purpose, step, global row).

    A draw is a hash of its key and of its index among the row's elements: a counter, not a sequence. A sequence has a
    state, which whoever drew before has advanced; a counter has none, so that all elements are computed at once, where
    `rows` are, and neither the other rows nor the number of draws can change one (Salmon et al. 2011, "Parallel random
    numbers: as easy as 1, 2, 3"). Compiled, it is one operator of the graph, and the step an input of it.

    `rows` below are what a context's `rows` are: [B] global row ids, or [B, k] keys of k integers; any integers do.
    `seed` and `step` are signed integers of 64 bits.
    """

    seed: int = 0
    step: int = 0

    def uniform(self, purpose: str, rows: Tensor, *shape: int) -> Tensor:
        """Uniform [0, 1) draws, multiples of 2^-24 in float32, [B, *shape]: the same bits on every device, since every
        operation is on integers or exact."""
        n = math.prod(shape)
        words: Tensor = _bits(rows, f"uniform {purpose}", self.seed, self.step, (n + 1) // 2)
        drawn = (words.view(torch.int32) >> 8).float().mul_(2.0**-24).add_(0.5)  # 64 bits make two elements
        return drawn[:, :n].contiguous().view(len(rows), *shape)

    def normal(self, purpose: str, rows: Tensor, *shape: int) -> Tensor:
        """Standard normal draws in float32, [B, *shape], at most 8.3 in size: the inverse of the normal distribution at
        a 53-bit uniform of (0, 1), in float64. Devices may differ by the round-off of its logarithm."""
        words: Tensor = _bits(rows, f"normal {purpose}", self.seed, self.step, math.prod(shape))
        words >>= 12
        centre = words.double().add_(0.5).mul_(2.0**-52).add_(0.5)  # of one of 2^52 equal parts of (0, 1); exact
        drawn: Tensor = torch.special.ndtri(centre, out=centre)
        return drawn.float().view(len(rows), *shape)


@torch.library.custom_op("lllm::noise_bits", mutates_args=())
def _bits(rows: Tensor, purpose: str, seed: int, step: int, n: int) -> Tensor:
    """64 random bits for each of n elements of each row: int64 [B, n].

    An operator of its own, because it lives on products that wrap: a compiler of C++ may take it that a signed integer
    never overflows, and a loop whose index is hashed then runs past its end.
    """
    if rows.dim() not in (1, 2) or 0 in rows.shape[1:] or rows.is_floating_point():
        raise TypeError(f"rows are {rows.dtype} {tuple(rows.shape)}; expected integers [B] or [B, k], k >= 1")
    keys = rows.long().unbind(1) if rows.dim() == 2 else (rows.long(),)
    begin = int.from_bytes(_digest(purpose, seed, step, len(keys)), "little", signed=True)
    state = torch.full_like(keys[0], begin)
    for key in keys:
        state = _mixed(state + key * _GAMMA)
    # Indices are mixed before they are added, too: two rows are then never one sequence read from two places.
    index = _mixed(torch.arange(n, device=rows.device) * _GAMMA)
    words = torch.empty(len(rows), n, dtype=torch.long, device=rows.device)
    return _mixed(torch.add(state[:, None], index, out=words))


@_bits.register_fake
def _(rows: Tensor, purpose: str, seed: int, step: int, n: int) -> Tensor:
    return rows.new_empty((rows.shape[0], n), dtype=torch.long)


def _digest(*key: int | str) -> bytes:
    """64 bits of a stable hash."""
    return hashlib.blake2b("\x1f".join(map(str, key)).encode(), digest_size=8).digest()


# SplitMix64: odd steps of the golden ratio, and "variant 13" of MurmurHash3's finaliser, as signed 64-bit integers
# (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", doi:10.1145/2660193.2660195).
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def _mixed(x: Tensor) -> Tensor:
    """x (int64, overwritten) with its bits scattered: a bijection in which one bit of x turns half of the result's."""
    scratch = torch.empty_like(x)  # one for all three: fresh memory costs more than the arithmetic
    _xorshift(x, 30, scratch).mul_(_FIRST)
    _xorshift(x, 27, scratch).mul_(_SECOND)
    return _xorshift(x, 31, scratch)


def _xorshift(x: Tensor, by: int, scratch: Tensor) -> Tensor:
    """x ^= x >> by as of an unsigned number: the mask takes away the copies of the sign."""
    torch.bitwise_right_shift(x, by, out=scratch)
    return x.bitwise_xor_(scratch.bitwise_and_((1 << (64 - by)) - 1))


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
