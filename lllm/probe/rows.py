"""The rows of a probe: real validation text, the longest there is, and the places at which it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from lllm.data.batches import Batch, joined_rows
from lllm.model.noise import stream

__all__ = ["drawn_text", "other_text", "places", "probe_rows", "with_text_after"]


def probe_rows(batches: Callable[[], Iterable[Batch]], count: int, turn: int = 0) -> Batch:
    """`count` rows of what batches() gives, shortest first: the longest, but every eighth drawn from those that are
    shorter than these. Which of the rows that fill the context is chance, too, and others at another `turn`. Fewer
    where there are fewer."""
    lengths = torch.cat([batch.ok.sum(1) for batch in batches()])
    drawn = torch.randperm(len(lengths), generator=stream(turn, "rows"))
    order = drawn[lengths[drawn].argsort(descending=True, stable=True)]
    most = count - (count + 4) // 8
    long, rest = order[:most], order[most:]
    shorter = drawn[(lengths[drawn] < lengths[long[-1]]) & (lengths[drawn] > 0)]
    chosen = torch.cat([long, shorter, rest[~torch.isin(rest, shorter)]])[:count]
    picked, first = [], 0
    for batch in batches():
        inside = chosen[(chosen >= first) & (chosen < first + len(batch))] - first
        picked += [batch.take(inside)] if len(inside) else []
        first += len(batch)
    rows = joined_rows(picked)
    return rows.take(rows.ok.sum(1).argsort(stable=True))


def places(lengths: Tensor, offset: int, ratio: int) -> tuple[Tensor, int]:
    """A place [B] in each row of `lengths` [B] tokens, shortest first, and the length of a stretch, such that the
    stretches from each place on hold every position of the longest row. Of the rows longer than half of it the i-th has
    its place at i stretches, a shorter one at its last, all less `offset` modulo one. A stretch is a multiple of
    `ratio`: pushed side by side, rows complete their chunks together."""
    rows, longest = len(lengths), int(lengths.max())
    long = int((2 * lengths > longest).sum())
    stretch = -(-longest // (max(1, long - 1, rows // 2) * ratio)) * ratio
    index = torch.arange(rows, device=lengths.device) - (rows - long)
    first = torch.where(index >= 0, index, lengths // stretch) * stretch
    return (first - offset % stretch if rows > 1 else first).clamp(min=0), stretch


def drawn_text(rows: Batch, generator: torch.Generator) -> Tensor:
    """Ids [B, T] drawn from all tokens of the rows: a text that nobody has read before."""
    real = rows.tokens[rows.ok].cpu()
    return real[torch.randint(len(real), rows.tokens.shape, generator=generator)].to(rows.tokens.device)


def other_text(rows: Batch, generator: torch.Generator) -> Tensor:
    """Ids [B, T] to stand in place of the rows' own: in even rows the text of the row before, shifted; in odd ones
    drawn ones."""
    batch, length = rows.tokens.shape
    drawn = drawn_text(rows, generator)
    shift = 1 + int(torch.randint(max(1, length - 1), (1,), generator=generator))
    text, there = (tensor.roll(1, 0).roll(shift, 1) for tensor in (rows.tokens, rows.ok))
    even = torch.arange(batch, device=rows.tokens.device)[:, None] % 2 == 0
    return torch.where(even & there, text, drawn)


def with_text_after(rows: Batch, points: Tensor, other: Tensor) -> Batch:
    """The rows with `other` [B, T] in place of each row's text from its point [B] on."""
    after = torch.arange(rows.tokens.shape[1], device=points.device) >= points[:, None]
    return replace(rows, tokens=torch.where(after & rows.ok, other, rows.tokens))
