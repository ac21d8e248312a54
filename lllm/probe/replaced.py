"""What has no cached form: text after a point is replaced, rows stand in other company, and nothing before it moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.contracts import Hidden, Likelihood
from lllm.probe.calls import Calls, Scored, entries, left_to_right, restored
from lllm.probe.carried import apart
from lllm.probe.finding import Gap
from lllm.probe.rows import with_text_after

__all__ = ["as_evaluated", "company", "in_score", "in_training", "unread"]


def in_score(
    calls: Calls, scored: Scored, rows: Batch, points: Tensor, other: Tensor, where: str = ""
) -> Iterator[Gap]:
    """Score the rows with other text after each row's point [B]; scored: of the rows as they are; where: of the tests'
    names."""
    x, likelihoods = scored
    changed = with_text_after(rows, points, other)
    after, moved = calls.score(changed)
    before, until = _before(calls, x, points)
    with torch.no_grad(), calls.autocast():
        own = calls.model.head.likelihoods(replace(after, chunk=x.chunk))
    for name, value in likelihoods.items():
        if value.kind == "none":
            yield Gap(f"latents of later text{where}", apart(after.hidden, x.hidden), until & x.ok.any(-1))
            continue
        gap = entries(moved[name]) - entries(value)
        yield Gap(f"'{name}' of later text{where}", gap, _where(gap, before, x.ok))
        gap = entries(own[name]) - entries(value)
        yield Gap(f"'{name}' of the chunk's own text{where}", gap, _where(gap, until.unsqueeze(-1), x.ok))


def in_training(calls: Calls, rows: Batch, points: Tensor, other: Tensor) -> Iterator[Gap]:
    """The same of the training loss, under autograd; through the compiled callable where there is one."""
    changed = with_text_after(rows, points, other)
    (x, loss), (after, moved) = _trained(calls, rows), _trained(calls, changed)
    before, until = _before(calls, x, points)
    gap = entries(moved) - entries(loss)
    yield Gap("training loss of later text", gap, _where(gap, before, x.ok))
    with torch.no_grad(), calls.autocast():
        gap = entries(calls.model.head.train_loss(replace(after, chunk=x.chunk))) - entries(loss)
    yield Gap("training loss of the chunk's own text", gap, _where(gap, until.unsqueeze(-1), x.ok))
    if calls.forward is not calls.model:
        with restored(calls):
            one = entries(calls.train(rows)).detach()
        with restored(calls):
            two = entries(calls.train(changed)).detach()
        yield Gap("compiled training loss of later text", two - one, _where(one, before, x.ok))
        yield Gap("compiled training loss", one - entries(loss), _where(one, torch.ones_like(before), x.ok))


def unread(calls: Calls, rows: Batch, points: Tensor, other: Tensor) -> Iterator[Gap]:
    """Rows [B, T] and text to replace theirs that no call has read before: scored, and scored again, which shows what a
    part remembers; then with other text after each row's point, from the state that was before. What a part has read
    of validation text may hide there whatever it sees of it now."""
    with restored(calls):
        first, (y, second) = calls.score(rows), calls.score(rows)
    x = first[0]
    for name, value in first[1].items():
        if value.kind == "none":
            yield Gap("latents, scored twice", apart(y.hidden, x.hidden), x.ok.any(-1))
            continue
        gap = entries(second[name]) - entries(value)
        yield Gap(f"'{name}', scored twice", gap, _where(gap, torch.ones_like(x.ok), x.ok))
    with restored(calls):
        yield from in_score(calls, first, rows, points, other, " where none was read before")


def as_evaluated(scored: Scored, rows: Batch, nats: Tensor) -> Iterator[Gap]:
    """The evaluation's own nats [B] of the rows, in company of its own and in whichever process it scored them. The
    deviation is over the root of a row's tokens, as that of a sum of rounding is."""
    x, likelihoods = scored
    ok = x.ok if "scored" not in rows.columns else x.ok & (rows.columns["scored"].view(x.ok.shape) > 0)
    for name, value in likelihoods.items():
        if value.primary and value.kind != "none":
            said = value.nats * ok.any(-1) if value.slots is None else (value.slots * ok).flatten(1)
            gap = (said.double().sum(1) - nats) / ok.flatten(1).sum(1).clamp(min=1).sqrt()
            yield Gap(f"'{name}' as it was evaluated", gap[:, None], ok.flatten(1).any(1)[:, None])


def company(calls: Calls, scored: Scored, rows: Batch, others: Batch) -> Iterator[Gap]:
    """Rows in reverse order, every second of them another one; and a third of the rows."""
    every = torch.arange(len(rows), device=rows.tokens.device)
    swapped = (every % 2 == 1)[:, None] & rows.ok
    mixed = replace(rows, tokens=torch.where(swapped, others.tokens, rows.tokens))
    for test, some, index, kept in (
        ("other rows beside it", mixed, every.flip(0), every % 2 == 0),
        ("fewer rows beside it", rows, every[::3], every % 3 == 0),
    ):
        x, again = calls.score(some.take(index))
        place = torch.zeros_like(every).index_put((index,), torch.arange(len(index), device=every.device))
        for name, value in scored[1].items():
            if value.kind == "none":
                gap = apart(x.hidden[place], scored[0].hidden)
                yield Gap(f"latents, {test}", gap, kept[:, None] & scored[0].ok.any(-1))
                continue
            gap = entries(again[name])[place] - entries(value)
            yield Gap(f"'{name}', {test}", gap, _where(gap, kept[:, None, None], scored[0].ok))


def _trained(calls: Calls, rows: Batch) -> tuple[Hidden, Likelihood]:
    """What the head reads in training, and the loss, without their graph; what a part learns meanwhile, as a running
    mean, is taken back."""
    with restored(calls):
        x = calls.train_hidden(rows)
        with torch.enable_grad(), calls.autocast():
            loss = calls.model.head.train_loss(x)
    slots = None if loss.slots is None else loss.slots.detach()
    return replace(x, hidden=x.hidden.detach()), replace(loss, nats=loss.nats.detach(), slots=slots)


def _before(calls: Calls, x: Hidden, points: Tensor) -> tuple[Tensor, Tensor]:
    """[B, N, R]: the tokens whose own loss may depend on nothing from the point on; [B, N]: the chunks whose latent may
    not. A head that draws its slots in another order is asked of whole chunks only."""
    _, n, slots = x.ok.shape
    first = torch.arange(n, device=points.device) * slots
    last = torch.arange(slots, device=points.device).expand(n, slots)
    if not left_to_right(calls.model):
        last = torch.full_like(last, slots - 1)
    return (first[:, None] + last)[None] < points[:, None, None], first <= points[:, None]


def _where(gap: Tensor, asked: Tensor, ok: Tensor) -> Tensor:
    """Which entries of a comparison count, of the tokens that are asked for and carry loss [B, N, R]: of whole chunks
    those that are asked for as a whole."""
    return asked & ok if gap.dim() == 3 else asked.expand_as(ok).all(-1) & ok.any(-1)
