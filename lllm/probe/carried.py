"""One equality: what the model says while it generates is what it is scored by.

Each row is read up to a place of its own and then pushed token by token, and nothing of what comes later is handed
over. A part that looks ahead anywhere when whole rows are scored cannot know then what it knew there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.context import Context
from lllm.model.contracts import Head, Hidden
from lllm.model.contracts.visibility import CAUSAL
from lllm.model.incremental import peek, prefill, push
from lllm.probe.calls import Calls, Scored, entries, left_to_right, mode
from lllm.probe.finding import Gap
from lllm.probe.rows import places

__all__ = ["Carried", "carried", "drawn_nats"]


@dataclass(frozen=True)
class Carried:
    """covered: how many positions of the longest row were predicted from a carried state; drawn: whether the nats that
    tables show, where they are exact, were compared with the distributions by which the head draws; gaps: the
    comparisons."""

    covered: int
    drawn: bool
    gaps: list[Gap]


@torch.no_grad()
def carried(calls: Calls, rows: Batch, scored: Scored, offset: int, seconds: float) -> Carried:
    """Prefill each row up to its place and push what follows, for at most `seconds`; compare with how the rows are
    scored."""
    model = calls.model
    starts, stretch = places(rows.ok.sum(1), offset, model.ratio)
    if model.visibility.noncausal_region:  # a prompt that was pushed is one that was read both ways
        rows = replace(rows, prompt=starts)
        scored = calls.score(rows)
    x, likelihoods = scored
    with mode(model, train=False), calls.autocast():
        said = _generated(calls, rows, x, starts, stretch, seconds)
        comparable = said.there
        if not model.head.wants_tokens:
            comparable = comparable & (x.ctx.prefix == said.prefix)[:, None]
        ok = x.ok & comparable.unsqueeze(-1)
        whole, gaps, drawn = model.head.likelihoods(said.x), [], True
        for name, value in likelihoods.items():
            if value.kind == "none":
                gaps.append(Gap("carried latents", apart(said.x.hidden, x.hidden), ok.any(-1)))
                continue
            where = ok if value.slots is not None else ok.any(-1)
            gaps.append(Gap(f"'{name}' of carried latents", entries(whole[name]) - entries(value), where))
            if value.kind != "exact":
                continue
            if not model.head.stateful:
                gaps.append(Gap(f"'{name}' chunk by chunk", _alone(calls, rows, said, name) - value.nats, ok.any(-1)))
            # A joint likelihood that marginalises otherwise is not the product of what is drawn token by token.
            tied = model.head.categorical and (value.slots is not None or model.head.projective)
            drawn &= tied or not value.primary
            if not tied:
                continue
            if said.peeked is None:
                nats, known, test = drawn_nats(model.head, said.x), ok & ok.all(-1, keepdim=True), "as it is drawn"
            else:
                nats, known, test = said.peeked, ok & said.asked, "of the next token"
            gap = nats - value.slots if value.slots is not None else nats.sum(-1) - value.nats
            gaps.append(Gap(f"'{name}' {test}", gap, known if value.slots is not None else known.all(-1)))
    return Carried(int(comparable.any(0).sum()) * model.head.ratio, drawn, gaps)


@dataclass(frozen=True)
class _Said:
    """x: what the head reads, with carried values where there [B, N]; peeked [B, N, R]: nats of the next token where
    asked [B, N, R], None of a head that does not draw from left to right; prefix [B]."""

    x: Hidden
    there: Tensor
    peeked: Tensor | None
    asked: Tensor
    prefix: Tensor


def _generated(calls: Calls, rows: Batch, x: Hidden, starts: Tensor, stretch: int, seconds: float) -> _Said:
    model, lengths = calls.model, rows.ok.sum(1)
    slots, length = model.head.ratio, rows.tokens.shape[1]
    place = torch.arange(length, device=starts.device)
    given = torch.where(place < starts[:, None], rows.tokens, 0)[:, : int(starts.max())]
    state = prefill(model, given, starts, progress=calls.progress, last=calls.last)
    hidden, there = x.hidden.clone(), torch.zeros_like(x.ok[:, :, 0])
    tokens = None if x.tokens is None else x.tokens.clone()
    lent = {name: value.clone() for name, value in x.lent.items()}
    peeked = torch.zeros(x.ok.shape, dtype=torch.float64, device=starts.device)
    asked = torch.zeros_like(x.ok)
    asks = left_to_right(model)
    until = time.monotonic() + seconds
    for turn in range(stretch):
        live = state.count < lengths
        if not bool(live.any()) or (turn and time.monotonic() > until):
            break
        row = torch.nonzero(live).flatten()
        chunk, slot = state.count[row] // slots, state.count[row] % slots
        hidden[row, chunk], there[row, chunk] = state.hidden[row], True
        if tokens is not None and state.token is not None:
            tokens[row, chunk] = state.token[row]
        for name, value in lent.items():
            value[row, chunk] = state.lent[name][row]
        target = rows.tokens.gather(1, state.count.clamp(max=length - 1)[:, None])[:, 0]
        if asks:
            log_p = peek(model, state).double().log_softmax(-1)
            peeked[row, chunk, slot], asked[row, chunk, slot] = -log_p.gather(1, target[:, None])[row, 0], True
        state = push(model, state, torch.where(live, target, 0), live)
    x = replace(x, hidden=hidden, tokens=tokens, lent=lent)
    return _Said(x, there, peeked if asks else None, asked, state.prefix)


def drawn_nats(head: Head, x: Hidden) -> Tensor:
    """Nats [B, N, R] of each slot by the conditional by which the head draws it, when it draws the chunk from nothing
    in an order of its own."""
    nats = torch.zeros(x.ok.shape, dtype=torch.float64, device=x.ok.device)
    for slot, seen in head.drawn():
        log_p = head.conditionals(x, [(slot, seen)])[slot, seen].double().log_softmax(-1)
        nats[:, :, slot] = -log_p.gather(-1, x.chunk[:, :, slot, None]).squeeze(-1)
    return nats


def _alone(calls: Calls, rows: Batch, said: _Said, name: str) -> Tensor:
    """Nats [B, N] of each chunk that is there, scored as the only chunk of a row, as generation sees it."""
    model, x = calls.model, said.x
    row, chunk = said.there.nonzero(as_tuple=True)
    here = torch.ones(len(row), 1, dtype=torch.bool, device=row.device)
    at_tokens = model.head.wants_tokens
    prefix = torch.zeros_like(row) if at_tokens else said.prefix[row]
    visibility = CAUSAL if at_tokens else model.visibility
    ctx = Context.of(here, visibility, prefix=prefix, rows=rows.rows[row], progress=calls.progress, last=calls.last)
    one = Hidden(
        x.hidden[row, chunk, None],
        x.chunk[row, chunk, None],
        x.ok[row, chunk, None],
        replace(ctx, pos=chunk[:, None]),
        None if x.tokens is None else x.tokens[row, chunk, None],
        {lent: value[row, chunk, None] for lent, value in x.lent.items()},
    )
    nats = model.head.likelihoods(one)[name].nats[:, 0]
    found = torch.zeros(said.there.shape, dtype=nats.dtype, device=nats.device)
    return found.index_put((row, chunk), nats)


def apart(found: Tensor, expected: Tensor) -> Tensor:
    """Largest difference of each latent [B, N], relative to the size of all."""
    size = expected.double().square().mean().sqrt().clamp(min=1e-30)
    return (found.double() - expected.double()).abs().amax(-1) / size
