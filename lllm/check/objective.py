"""OBJECTIVE: what training descends is, on average over its noise, what the head says of itself."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from lllm.check import NotTested, Verdict
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
    ok = torch.arange(tokens.shape[1]) < (tokens.shape[1] - torch.arange(_ROWS)[:, None]).clamp(min=1)
    x = model.hidden(tokens, ok, torch.zeros(_ROWS, dtype=torch.long))
    declared = {name: value for name, value in head.likelihoods(x).items() if value.kind != "none"}
    kind = _loss(head, x, subject.seed, 0).kind
    if kind == "none" or not declared:
        return NotTested("train_loss is of kind none")
    least = min(declared.values(), key=lambda value: (value.kind != "exact", not value.primary))
    counts = _DRAWS if type(head).train_loss is not Head.train_loss else (2,)
    for count in counts:
        drawn = torch.stack([_loss(head, x, subject.seed, count + step).nats for step in range(count)]).double()
        if any(all(_sides(drawn, value.nats)) for value in declared.values()):
            return None
        if kind == "bound" and _sides(drawn, least.nats)[0]:
            return None
    total = drawn.flatten(1).sum(1)
    sums = ", ".join(f"'{name}' {float(value.nats.sum()):.4f}" for name, value in declared.items())
    return (
        f"train_loss, of kind {kind}, is {float(total.mean()):.4f} +- {float(total.std()) / count**0.5:.4f} nats on "
        f"average over {count} draws of its noise, and the likelihoods are {sums}; descending it trains another model"
    )


def _loss(head: Head, x: Hidden, seed: int, step: int) -> Likelihood:
    """One draw: the same latents, the noise of another step."""
    fresh = {f.name: getattr(x.ctx, f.name) for f in fields(x.ctx) if f.init}
    fresh |= {"train": True, "noise": Noise(seed, step), "_told": Told()}
    return head.train_loss(replace(x, ctx=_Unregularised(**fresh)))


def _sides(drawn: Tensor, nats: Tensor) -> tuple[bool, bool]:
    """Whether the mean of a loss's draws [S, B, N] is not below a likelihood's nats [B, N], and whether it is not above
    them: in sum, and in every single chunk."""
    chunks = drawn.flatten(1)
    each = torch.cat([chunks.sum(1, keepdim=True), chunks], 1)
    expected = torch.cat([nats.sum().view(1), nats.flatten()])
    errors = torch.full_like(expected, _CHUNK)
    errors[0] = _TOTAL
    room = errors * each.std(0) / len(each) ** 0.5 + _ROUND_OFF * expected.abs().clamp(min=1)
    gap = each.mean(0) - expected
    return bool((gap >= -room).all()), bool((gap <= room).all())
