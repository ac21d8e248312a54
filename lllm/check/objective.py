"""OBJECTIVE: what training descends is, on average over its noise, what the head says of itself."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lllm.check.result import NotTested, Verdict
from lllm.check.subject import Subject
from lllm.model import Context
from lllm.model.context import Told
from lllm.model.contracts import Head, Hidden, Likelihood
from lllm.model.noise import Noise

__all__ = ["objective"]

_ROWS = 6
_DRAWS = (64, 512)  # what three standard errors refuse is looked at a second time, under fresh noise
_TOTAL, _CHUNK = 3.0, 5.0  # standard errors within which the sum, and every single chunk, must agree
_ROUND_OFF = 1e-9


@dataclass(frozen=True)
class _Mean:
    """Of many draws of a training loss: mean nats per chunk [B, N] and of their sum, each with its standard error."""

    nats: Tensor
    error: Tensor
    total: float
    total_error: float

    def agrees(self, other: Tensor) -> bool:
        """Neither above nor below `other`."""
        return self.at_least(other) and bool(self._gap(other) <= self._room(_TOTAL)) and self._chunks(-1, other)

    def at_least(self, other: Tensor) -> bool:
        """Not below `other`."""
        return bool(-self._gap(other) <= self._room(_TOTAL)) and self._chunks(1, other)

    def _gap(self, other: Tensor) -> float:
        return self.total - float(other.sum())

    def _room(self, errors: float) -> float:
        return errors * self.total_error + _ROUND_OFF * max(1.0, abs(self.total))

    def _chunks(self, sign: int, other: Tensor) -> bool:
        """No chunk is on the wrong side."""
        below = sign * (other - self.nats)
        return bool((below <= _CHUNK * self.error + _ROUND_OFF * other.abs().clamp(min=1)).all())


class _Unregularised(Context):
    """A context in which the layers inside a head are as in evaluation: noise in them (as dropout) trains on purpose
    another model than the one that is scored; the head's own is that of its estimator."""

    def local(self, ok: Tensor, start: int = 0) -> Context:
        return replace(super().local(ok, start), train=False)


@torch.no_grad()
def objective(subject: Subject) -> Verdict:
    """The mean of train_loss over the head's own noise, not that of layers in it, agrees with a declared likelihood
    within Monte-Carlo error, or, where it declares itself a bound, is not below the exact one (the primary, where there
    is no exact one)."""
    model, head = subject.model, subject.model.head
    tokens = subject.tokens(_ROWS, 2 * model.ratio, "row")
    ok = torch.arange(tokens.shape[1]) < torch.arange(tokens.shape[1], 0, -1)[:_ROWS, None].clamp(min=1)
    if len(ok) < _ROWS:  # rows of one token, at ratio 1
        ok = torch.cat([ok, ok[-1:].expand(_ROWS - len(ok), -1)])
    x = model.hidden(tokens, ok, torch.zeros(_ROWS, dtype=torch.long))
    declared = {name: value for name, value in head.likelihoods(x).items() if value.kind != "none"}
    kind = _loss(head, x, subject.seed, 0).kind
    if kind == "none" or not declared:
        return NotTested("train_loss is of kind none")
    counts = _DRAWS if type(head).train_loss is not Head.train_loss else (2,)
    for count in counts:
        mean = _mean(head, x, subject.seed, count)
        if any(mean.agrees(value.nats) for value in declared.values()):
            return None
        least = next((v for v in declared.values() if v.kind == "exact"), None) or _primary(declared)
        if kind == "bound" and mean.at_least(least.nats):
            return None
    sums = ", ".join(f"'{name}' {float(value.nats.sum()):.4f}" for name, value in declared.items())
    return (
        f"train_loss, of kind {kind}, is {mean.total:.4f} +- {mean.total_error:.4f} nats on average over {count} draws "
        f"of its noise, and the likelihoods are {sums}; descending it trains another model"
    )


def _primary(declared: dict[str, Likelihood]) -> Likelihood:
    return next((value for value in declared.values() if value.primary), next(iter(declared.values())))


def _loss(head: Head, x: Hidden, seed: int, step: int) -> Likelihood:
    """One draw: the same latents, the noise of another step."""
    fresh = {f.name: getattr(x.ctx, f.name) for f in fields(x.ctx) if f.init}
    fresh |= {"train": True, "noise": Noise(seed, step), "_told": Told()}
    return head.train_loss(replace(x, ctx=_Unregularised(**fresh)))


def _mean(head: Head, x: Hidden, seed: int, count: int) -> _Mean:
    drawn = torch.stack([_loss(head, x, seed, count + step).nats for step in range(count)]).double()
    sums = drawn.flatten(1).sum(1)
    root = count**0.5
    return _Mean(drawn.mean(0), drawn.std(0) / root, float(sums.mean()), float(sums.std()) / root)
