"""The rows of a probe: real validation text, the longest there is, and the places at which it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from lllm.data.batches import Batch, joined_rows

__all__ = ["other_text", "places", "probe_rows", "with_text_after"]


def probe_rows(batches: Callable[[], Iterable[Batch]], count: int, turn: int = 0) -> Batch:
    """The `count` longest rows of what batches() gives, shortest first: of all those that fill the context evenly
    spaced ones, so that many documents are among them, and others at another `turn`. Fewer where there are fewer."""
    lengths = torch.cat([batch.ok.sum(1) for batch in batches()])
    order = lengths.argsort(descending=True, stable=True)
    full = int((lengths == lengths.max()).sum())
    if full > count:
        space = full // count
        order = order[:full][turn % space :: space]
    chosen = order[:count].sort().values
    picked, first = [], 0
    for batch in batches():
        inside = chosen[(chosen >= first) & (chosen < first + len(batch))] - first
        picked += [batch.take(inside)] if len(inside) else []
        first += len(batch)
    rows = joined_rows(picked)
    return rows.take(rows.ok.sum(1).argsort(stable=True))


def places(lengths: Tensor, offset: int, ratio: int) -> tuple[Tensor, int]:
    """A place [B] in each row of `lengths` [B] tokens, and the length of a stretch, such that the stretches from each
    place on hold every position of the longest row. Row i has its place at i stretches, less `offset` modulo one. A
    stretch is a multiple of `ratio`: pushed side by side, rows complete their chunks together."""
    rows, longest = len(lengths), int(lengths.max())
    stretch = -(-longest // (max(1, rows - 1) * ratio)) * ratio
    first = torch.arange(rows, device=lengths.device) * stretch
    return (first - offset % stretch if rows > 1 else first).clamp(min=0), stretch


def other_text(rows: Batch, generator: torch.Generator) -> Tensor:
    """Ids [B, T] to stand in place of the rows' own: in even rows the text of the row before, shifted; in odd ones
    tokens drawn from all of them."""
    batch, length = rows.tokens.shape
    real = rows.tokens[rows.ok].cpu()
    drawn = real[torch.randint(len(real), (batch, length), generator=generator)].to(rows.tokens.device)
    shift = 1 + int(torch.randint(max(1, length - 1), (1,), generator=generator))
    text, there = (tensor.roll(1, 0).roll(shift, 1) for tensor in (rows.tokens, rows.ok))
    even = torch.arange(batch, device=rows.tokens.device)[:, None] % 2 == 0
    return torch.where(even & there, text, drawn)


def with_text_after(rows: Batch, points: Tensor, other: Tensor) -> Batch:
    """The rows with `other` [B, T] in place of each row's text from its point [B] on."""
    after = torch.arange(rows.tokens.shape[1], device=points.device) >= points[:, None]
    return replace(rows, tokens=torch.where(after & rows.ok, other, rows.tokens))
