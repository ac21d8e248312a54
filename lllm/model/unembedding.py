"""The one function from which every categorical head gets its nats: (hidden states, unembedding, targets)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lllm.model.noise import Noise
from lllm.model.roles import Role, parameter

__all__ = ["Unembedding", "sampled_labels"]

_CHUNK = 1 << 25  # logits held at once; more are computed, and recomputed in the backward pass, piece by piece
_IGNORED = -100


@dataclass
class _Sampled:
    """Labels of one pass. name: of the unembedding; calls: how many times it was asked, so that no two draw alike."""

    noise: Noise
    rows: Tensor
    name: str
    calls: int = 0

    def uniform(self, shape: torch.Size) -> Tensor:
        """[B, ...] draws for the next call."""
        if len(self.rows) != shape[0]:
            raise TypeError(f"sampled labels need the batch first: {len(self.rows)} rows, targets {tuple(shape)}")
        self.calls += 1
        return self.noise.uniform(f"sampled labels.{self.name}.{self.calls}", self.rows, *shape[1:])


class Unembedding(nn.Module):
    """Hidden states [..., d] -> logits [..., V] with every id that is not a legal outcome at -inf."""

    def __init__(self, width: int, vocab: int, illegal: tuple[int, ...]) -> None:
        super().__init__()
        self.width, self.vocab, self.illegal = width, vocab, illegal
        self.weight = parameter(vocab, width, role=Role("unembedding", std=width**-0.5))
        self.sampled: _Sampled | None = None  # see `sampled_labels`
        self.largest = _CHUNK

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self._mask(x))

    def nats(self, x: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood [B, ...] in nats of `targets` [B, ...] given x [B, ..., d], in float32 or better; an
        illegal target has 0 (its loss is masked). Under `sampled_labels` the targets are drawn from the model."""
        safe = targets
        if self.illegal:
            safe = safe.masked_fill(torch.isin(safe, torch.tensor(self.illegal, device=safe.device)), _IGNORED)
        uniform = None if self.sampled is None else self.sampled.uniform(targets.shape)
        flat = (x.flatten(0, -2), safe.flatten(), None if uniform is None else uniform.flatten())
        step = max(1, self.largest // self.vocab)
        if len(flat[0]) <= step:
            return self._nats(*flat).view(targets.shape)
        pieces = zip(
            *(torch.split(part, step) if part is not None else [None] * len(flat[0]) for part in flat), strict=False
        )
        return torch.cat([checkpoint(self._nats, *piece, use_reentrant=False) for piece in pieces]).view(targets.shape)

    def _mask(self, x: Tensor) -> Tensor | None:
        """A bias of -inf at illegal outcomes: masked in the product itself, without another pass over the logits."""
        if not self.illegal:
            return None
        bias = torch.zeros(self.vocab, dtype=self.weight.dtype, device=x.device)
        bias[list(self.illegal)] = float("-inf")
        return bias

    def flops(self, n: int) -> int:
        """Contraction FLOPs for n scored tokens."""
        return 2 * n * self.width * self.vocab

    def _nats(self, x: Tensor, targets: Tensor, uniform: Tensor | None) -> Tensor:
        logits = self(x)
        if logits.dtype in (torch.bfloat16, torch.float16):
            logits = logits.float()
        if uniform is not None:
            cumulative = logits.detach().double().softmax(-1).cumsum(-1)
            drawn = torch.searchsorted(cumulative, uniform[:, None].double() * cumulative[:, -1:], right=True)[:, 0]
            targets = torch.where(targets == _IGNORED, targets, drawn.clamp(max=self.vocab - 1))
        return F.cross_entropy(logits, targets, reduction="none", ignore_index=_IGNORED)


@contextmanager
def sampled_labels(model: nn.Module, noise: Noise, rows: Tensor) -> Iterator[None]:
    """Within it, every `Unembedding.nats` of the model scores labels drawn from the model itself instead of the data's:
    what a Gauss-Newton estimate descends (arXiv:2305.14342, section 2.3). Draws are keyed by global row, so that
    micro-batches and world size cannot change them, and by the call within the pass. rows [B]: the global ids of the
    batch of one pass."""
    unembeddings = [(name, module) for name, module in model.named_modules() if isinstance(module, Unembedding)]
    for name, module in unembeddings:
        module.sampled = _Sampled(noise, rows, name)
    try:
        yield
    finally:
        for _, module in unembeddings:
            module.sampled = None
