"""The incremental form of the latent model: one state, owned here, of which parts own only their slice.

prefill(prompts) -> state; peek(state): the next token's logits; draw(state): the rest of the open chunk; push(state,
token): one more token. A latent is committed to the trunk only when its chunk is complete. Shapes as in `latent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lllm.errors import UserError
from lllm.model.context import Context
from lllm.model.contracts import Conditional, Hidden
from lllm.model.contracts.base import part_name
from lllm.model.contracts.visibility import CAUSAL
from lllm.model.latent import LatentModel
from lllm.model.sampling import Sampling
from lllm.model.state import State

__all__ = ["ModelState", "conditionals", "draw", "peek", "prefill", "push"]


@dataclass(frozen=True)
class ModelState(State):
    """Everything generation carries. count [B]: tokens so far; index [B]: complete chunks; prefix [B];
    chunk [B, R]: tokens of the head's open chunk, of which the first count % R are known; hidden [B, D]: the trunk
    output that predicts it; opened [B, ...]: what the head made of it, once; token [B, d]: the newest token state, and
    lent [B, ...] what else the downsampler says of it, for heads that want them; last: the batch statistics by which
    parts were steered at the end of training; progress: of training, at which the weights are."""

    count: Tensor
    index: Tensor
    prefix: Tensor
    chunk: Tensor
    hidden: Tensor
    opened: Tensor
    token: Tensor | None
    lent: dict[str, Tensor]
    embedding: State | None
    downsampler: State
    trunk: State
    head: State | None
    last: Mapping[str, float]
    progress: float


@torch.no_grad()
def prefill(
    model: LatentModel,
    tokens: Tensor,
    lengths: Tensor,
    *,
    progress: float = 1.0,
    last: Mapping[str, float] | None = None,
) -> ModelState:
    """The state after prompts tokens[b, :lengths[b]]; tokens [B, T] (T may be 0), padded on the right. `progress` and
    `last`, as of `LatentModel.score`, hold for whatever follows from the state."""
    batch, ratio, longest = len(lengths), model.ratio, int(lengths.max())
    width = longest + -longest % ratio + ratio  # room for the open chunk
    padded = torch.zeros(batch, width, dtype=torch.long, device=lengths.device)
    padded[:, : min(width, tokens.shape[1])] = tokens[:, :width]
    ok = torch.arange(width, device=lengths.device) < lengths[:, None]
    prefix = model.visibility.prefix_chunks(lengths, ratio)
    ctx = Context.of(ok, CAUSAL, prefix=prefix, progress=progress, last=last)
    e_BTd, embedding = model.embedding(padded, ctx)
    encoded = model.downsampler(e_BTd, ctx)
    x_BND, latent_ctx = model.trunk_input(encoded, ctx)
    rows = torch.arange(batch, device=ok.device)
    index = lengths // ratio if encoded.owner is None else encoded.owner[rows, lengths]
    if not model.head.stateful:  # only the newest output predicts what is not known yet
        latent_ctx = replace(latent_ctx, wanted=latent_ctx.pos == index[:, None])
    h_BND, trunk = model.trunk(x_BND, latent_ctx)
    x = model.head_input(padded, h_BND, encoded, ctx, latent_ctx)
    complete = lengths // model.head.ratio
    hidden = h_BND[rows, index]
    return ModelState(
        count=lengths.clone(),
        index=index,
        prefix=ctx.prefix,
        chunk=x.chunk[rows, complete],
        hidden=hidden,
        opened=model.head.open(hidden),
        token=None if x.tokens is None else x.tokens[rows, lengths],
        lent={name: value[rows, lengths] for name, value in x.lent.items()},
        embedding=embedding,
        downsampler=model.downsampler.resume(e_BTd, lengths, ctx),
        trunk=trunk,
        head=model.head.resume(x, complete),
        last=ctx.last,
        progress=progress,
    )


@torch.no_grad()
def conditionals(model: LatentModel, state: ModelState, which: Sequence[Conditional]) -> Mapping[Conditional, Tensor]:
    """Logits [B, V] of conditionals of the open chunk; of meaning where their S is within the known slots."""
    logits = model.head.conditionals(_open_chunk(model, state), which, state.head)
    return {item: value[:, 0] for item, value in logits.items()}


@torch.no_grad()
def peek(model: LatentModel, state: ModelState) -> Tensor:
    """Logits [B, V] of each row's next token."""
    slot = state.count % model.head.ratio
    return model.head.slot_logits(state.opened, _open_chunk(model, state), slot, state.head)


@torch.no_grad()
def draw(model: LatentModel, state: ModelState, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The open chunk with its unknown slots drawn [B, R], and how many of its slots were known [B].

    Raises:
        UserError: a chunk is partly known and the head draws whole chunks only.
    """
    slots = model.head.ratio
    known = state.count % slots
    partial = torch.nonzero(known).flatten()
    if model.head.prefix_conditional == "none" and len(partial):
        row = int(partial[0])
        raise UserError(
            f"prompt {row} = {int(state.count[row])} tokens: model.head '{part_name(model.head)}' draws whole chunks "
            f"and cannot continue one of which {int(known[row])} of {slots} tokens are known; expected prompts whose "
            f"number of tokens is a multiple of {slots}"
        )
    return model.head.draw(state.opened, _open_chunk(model, state), sampling, state.head), known


@torch.no_grad()
def push(model: LatentModel, state: ModelState, token: Tensor, ok: Tensor) -> ModelState:
    """The state after one more token [B] in the rows where ok [B]; other rows are left exactly as they were."""
    slots = model.head.ratio
    ctx = Context.of(ok[:, None], CAUSAL, prefix=state.prefix, progress=state.progress, last=state.last)
    ctx = replace(ctx, pos=state.count[:, None], tail_only=False)
    e_B1d, embedding = model.embedding(token[:, None], ctx, state.embedding)
    step = model.downsampler.step(e_B1d[:, 0], ctx, state.downsampler)
    slot = (state.count % slots)[:, None]
    chunk = torch.where(ok[:, None], state.chunk.scatter(1, slot, token[:, None]), state.chunk)
    count, index = state.count + ok, state.index + step.done
    head = state.head
    if model.head.stateful:
        whole = ok & (count % slots == 0)
        known = torch.ones_like(chunk, dtype=torch.bool)
        head = model.head.commit(_open_chunk(model, replace(state, chunk=chunk), known), whole, head)
    hidden, opened, trunk = state.hidden, state.opened, state.trunk
    if bool(step.done.any()):
        latent_ctx = replace(ctx, pos=index[:, None], ok=step.done[:, None], visibility=model.visibility)
        h_B1D, trunk = model.trunk(step.latent[:, None].to(model.first.dtype), latent_ctx, state.trunk)
        hidden = torch.where(step.done[:, None], h_B1D[:, 0], hidden)
        fresh = model.head.open(hidden)
        opened = torch.where(step.done.view(-1, *[1] * (fresh.dim() - 1)), fresh, opened)
    newest = state.token
    if step.token is not None and newest is not None:
        newest = torch.where(ok[:, None], step.token.to(newest.dtype), newest)
    lent = {
        name: torch.where(ok.view(-1, *[1] * (now.dim() - 1)), now, state.lent[name]) for name, now in step.lent.items()
    }
    return replace(
        state,
        count=count,
        index=index,
        chunk=chunk,
        hidden=hidden,
        opened=opened,
        token=newest,
        lent=lent,
        embedding=embedding,
        downsampler=step.state,
        trunk=trunk,
        head=head,
    )


def _open_chunk(model: LatentModel, state: ModelState, known: Tensor | None = None) -> Hidden:
    """The head's view of the open chunk: N = 1."""
    slots = model.head.ratio
    if known is None:
        known = torch.arange(slots, device=state.count.device) < (state.count % slots)[:, None]
    every = torch.ones_like(state.count, dtype=torch.bool)[:, None]
    position, prefix, visibility = state.index, state.prefix, model.visibility
    if model.head.wants_tokens:  # causal at its own rate, see `LatentModel.head_input`
        position, prefix, visibility = state.count, torch.zeros_like(prefix), CAUSAL
    ctx = Context.of(every, visibility, prefix=prefix, progress=state.progress, last=state.last)
    ctx = replace(ctx, pos=position[:, None])
    token = None if state.token is None else state.token[:, None]
    lent = {name: value[:, None] for name, value in state.lent.items()}
    return Hidden(state.hidden[:, None], state.chunk[:, None], known[:, None], ctx, token, lent)
