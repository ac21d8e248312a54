"""Batches as a stateless function of (seed, step): no iterator state, so resume is exact and variants are paired.

A row is a piece of one document, `context` tokens long, padded on the right. Each epoch cuts the documents at another
offset, a multiple of `data.multiple`, and shuffles the pieces; both come from (seed, epoch) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lllm.data.shard import Shard
from lllm.errors import UserError

__all__ = ["Batch", "Rows", "TrainBatches", "cut", "joined_rows", "limited", "valid_batches"]


@dataclass(frozen=True)
class Batch:
    """tokens [B, T] ids; ok [B, T] real tokens; rows [B] global row ids; prompt [B] tokens at the row's beginning that
    are read and never scored; documents [B]; starts [B] first token's place in its document; columns: name -> [B, T],
    aligned with targets."""

    tokens: Tensor
    ok: Tensor
    rows: Tensor
    prompt: Tensor
    documents: Tensor
    starts: Tensor
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def segment(self) -> Tensor:
        """The document of each token [B, T]: a row is a piece of one."""
        return self.documents[:, None].expand_as(self.tokens)

    def slice(self, start: int, stop: int) -> Self:
        """Rows start..stop-1."""
        return self._map(lambda tensor: tensor[start:stop])

    def take(self, index: Tensor) -> Self:
        """The rows `index` [M], repetitions allowed."""
        return self._map(lambda tensor: tensor[index])

    def to(self, device: str | torch.device) -> Self:
        """The same rows on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def _map(self, function: object) -> Self:
        assert callable(function)
        changed = {f.name: function(getattr(self, f.name)) for f in fields(self) if f.name != "columns"}
        return replace(self, **changed, columns={name: function(column) for name, column in self.columns.items()})


def joined_rows(batches: Sequence[Batch]) -> Batch:
    """The rows of several batches of one context."""
    first = batches[0]
    named = {name: torch.cat([batch.columns[name] for batch in batches]) for name in first.columns}
    rest = [f.name for f in fields(first) if f.name != "columns"]
    return replace(first, columns=named, **{n: torch.cat([getattr(batch, n) for batch in batches]) for n in rest})


class Rows:
    """Random access to pieces of documents over several shards."""

    def __init__(self, shards: Sequence[Shard], context: int, pad: int) -> None:
        self.shards, self.context, self.pad = shards, context, pad
        counts = [len(shard.sizes) for shard in shards]
        self.first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.lengths = np.concatenate([np.diff(shard.offsets) for shard in shards])
        self.sizes = np.concatenate([shard.sizes for shard in shards])
        self.names = sorted({name for shard in shards for name in shard.columns})

    def batch(self, pieces: NDArray[np.int64], rows: Sequence[int]) -> Batch:
        """pieces [B, 3]: document, start, length of each row."""
        size = len(pieces)
        tokens = np.full((size, self.context), self.pad, dtype=np.int64)
        columns = {name: np.zeros((size, self.context), dtype=np.float32) for name in self.names}
        for i, (document, start, length) in enumerate(pieces):
            index = int(np.searchsorted(self.first, document, side="right")) - 1
            shard = self.shards[index]
            begin = int(shard.offsets[document - self.first[index]]) + start
            tokens[i, :length] = shard.tokens[begin : begin + length]
            for name, column in columns.items():
                column[i, :length] = shard.columns[name][begin : begin + length] if name in shard.columns else 1
        ids = torch.from_numpy(tokens)
        return Batch(
            tokens=ids,
            ok=ids != self.pad,
            rows=torch.tensor(rows, dtype=torch.long),
            prompt=_leading(columns["scored"] if "scored" in columns else np.ones_like(tokens), tokens != self.pad),
            documents=torch.from_numpy(pieces[:, 0].copy()),
            starts=torch.from_numpy(pieces[:, 1].copy()),
            columns={name: torch.from_numpy(column) for name, column in columns.items()},
        )


def _leading(scored: NDArray[Any], real: NDArray[np.bool_]) -> Tensor:
    """How many real tokens of each row [B, T] come before its first scored one."""
    before = np.cumsum((scored > 0) & real, 1) == 0
    return torch.from_numpy((before & real).sum(1))


def cut(lengths: NDArray[np.int64], context: int, offset: int) -> NDArray[np.int64]:
    """Pieces [P, 3] (document, start, length) of documents of `lengths` tokens; the first piece of a document is
    `offset` long when that is not 0, all others `context` but the last."""
    heads = (offset > 0) & (lengths > offset)
    first = np.where(heads, offset, 0)
    counts = heads + -((first - lengths) // context)
    documents = np.repeat(np.arange(len(lengths)), counts)
    place = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    head = heads[documents]
    start = np.where(head & (place == 0), 0, first[documents] + (place - head) * context)
    stop = np.where(head & (place == 0), offset, np.minimum(start + context, lengths[documents]))
    return np.stack([documents, start, stop - start], 1).astype(np.int64)


class TrainBatches:
    """Global batch `step` of a run: `size` rows of `context` tokens."""

    def __init__(self, shards: Sequence[Shard], *, context: int, size: int, multiple: int, pad: int, seed: int) -> None:
        if context % multiple:
            raise UserError(f"data.context = {context}: expected a multiple of data.multiple, {multiple}")
        self.rows = Rows(shards, context, pad)
        self.size, self.multiple, self.seed = size, multiple, seed
        self._ends: list[int] = []  # global index of the row after each epoch, as far as it is known
        self._cached: tuple[int, NDArray[np.int64]] | None = None

    @property
    def bytes_per_step(self) -> float:
        """Mean raw bytes of a step."""
        pieces = len(cut(self.rows.lengths, self.rows.context, 0))
        return float(self.rows.sizes.sum()) / pieces * self.size

    def at(self, step: int, share: tuple[int, int] | None = None) -> Batch:
        """The batch of `step`, or its rows [start, stop); the same for the same (data, seed, step), whatever was asked
        before."""
        start, stop = share or (0, self.size)
        wanted = range(step * self.size + start, step * self.size + stop)
        return self.rows.batch(np.stack([self._piece(row) for row in wanted]), wanted)

    def _piece(self, row: int) -> NDArray[np.int64]:
        epoch = 0
        while True:
            if epoch == len(self._ends):
                begin = self._ends[-1] if self._ends else 0
                self._ends.append(begin + len(self._epoch(epoch)))
            if row < self._ends[epoch]:
                pieces: NDArray[np.int64] = self._epoch(epoch)[row - (self._ends[epoch - 1] if epoch else 0)]
                return pieces
            epoch += 1

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        """Shuffled pieces of one epoch."""
        if self._cached is None or self._cached[0] != epoch:
            random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            offset = int(random.integers(self.rows.context // self.multiple)) * self.multiple
            pieces = cut(self.rows.lengths, self.rows.context, offset)
            self._cached = (epoch, pieces[random.permutation(len(pieces))])
        return self._cached[1]


def valid_batches(
    shards: Sequence[Shard], *, context: int, size: int, pad: int, max_bytes: int | None = None
) -> Iterator[Batch]:
    """Whole validation documents in order, in non-overlapping rows; max_bytes: see `limited`."""
    rows = Rows(shards, context, pad)
    pieces = cut(rows.lengths, context, 0)
    if max_bytes is not None:
        pieces = pieces[limited(pieces, rows.lengths, rows.sizes, max_bytes)]
    for start in range(0, len(pieces), size):
        yield rows.batch(pieces[start : start + size], range(start, min(start + size, len(pieces))))


def limited(
    pieces: NDArray[np.int64], lengths: NDArray[np.int64], sizes: NDArray[np.int64], max_bytes: int
) -> NDArray[np.bool_]:
    """Which pieces [P] are within `max_bytes` raw bytes, by the documents' own sizes [docs], so that every tokenizer
    scores the same documents: the first ones that fit as a whole. Where they come to less than half of it, the next
    document is cut, at the piece that reaches max_bytes by the document's mean bytes per token."""
    ends = np.cumsum(sizes)
    whole = int(np.searchsorted(ends, max_bytes, side="right"))
    kept: NDArray[np.bool_] = pieces[:, 0] < whole
    done = int(ends[whole - 1]) if whole else 0
    if whole < len(sizes) and 2 * done < max_bytes:
        begins = pieces[:, 1] * (sizes[whole] / lengths[whole])
        kept |= (pieces[:, 0] == whole) & (done + begins < max_bytes)
    return kept
