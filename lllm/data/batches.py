"""Batches as a stateless function of (seed, step): no iterator state, so resume is exact and variants are paired.

A row is a piece of one document, `context` tokens long, padded on the right. Each epoch cuts the documents that are
longer at another offset, a multiple of `data.multiple`, and shuffles the pieces; both come from (seed, epoch) alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lllm.data.contracts import Tokenizer
from lllm.data.dataset import Shard
from lllm.errors import UserError

__all__ = ["DOCUMENTS", "Batch", "Rows", "TrainBatches", "beginnings", "cut", "joined_rows", "valid_batches"]

DOCUMENTS = 32  # that an evaluation scores at least, where there are as many


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

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
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
    """Pieces [P, 3] (document, start, length) of documents of `lengths` tokens: a document that fits into `context`
    is one; the first piece of a longer one is `offset` long when that is not 0, all others `context` but the last."""
    heads = (offset > 0) & (lengths > context)
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
        self._firsts = [0]  # global index of the first row of each epoch, as far as it is known
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
        while row >= self._firsts[-1]:
            self._firsts.append(self._firsts[-1] + len(self._epoch(len(self._firsts) - 1)))
        epoch = bisect_right(self._firsts, row) - 1
        piece: NDArray[np.int64] = self._epoch(epoch)[row - self._firsts[epoch]]
        return piece

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        """Shuffled pieces of one epoch."""
        if self._cached is None or self._cached[0] != epoch:
            random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            offset = int(random.integers(self.rows.context // self.multiple)) * self.multiple
            pieces = cut(self.rows.lengths, self.rows.context, offset)
            self._cached = (epoch, pieces[random.permutation(len(pieces))])
        return self._cached[1]


def valid_batches(shards: Sequence[Shard], *, context: int, size: int, pad: int) -> Iterator[Batch]:
    """Whole documents in order, in non-overlapping rows."""
    rows = Rows(shards, context, pad)
    pieces = cut(rows.lengths, context, 0)
    for start in range(0, len(pieces), size):
        yield rows.batch(pieces[start : start + size], range(start, min(start + size, len(pieces))))


def beginnings(shards: Sequence[Shard], tokenizer: Tokenizer, multiple: int, most: int | None) -> list[Shard]:
    """Of validation documents what is scored within `most` raw bytes (None: all of all): the first most / 32 of each,
    so that no few long ones decide, of as many as come to no more than `most`; where there are fewer than 32
    documents, an equal share of each.

    Every tokenizer scores the same bytes: of a token that reaches over the cut the bytes before it are encoded by
    themselves, with that token's columns. A document that was cut has no EOS.
    """
    if most is None:
        return list(shards)
    sizes = np.concatenate([shard.sizes for shard in shards])
    share = max(1, most // min(DOCUMENTS, len(sizes)))
    left = max(1, int(np.searchsorted(np.cumsum(np.minimum(sizes, share)), most, side="right")))
    found = []
    for shard in shards:
        count = min(left, len(shard.sizes))
        if count:
            found.append(_beginning(shard, count, tokenizer, multiple, share))
        left -= count
    return found


def _beginning(shard: Shard, count: int, tokenizer: Tokenizer, multiple: int, share: int) -> Shard:
    """The first `count` documents in memory, each of at most `share` raw bytes."""
    bytes_of, sizes = np.asarray(tokenizer.bytes_per_token), np.minimum(shard.sizes[:count], share)
    held: dict[str, list[NDArray[Any]]] = {name: [] for name in ("tokens", *shard.columns)}
    for document, size in enumerate(sizes):
        piece = slice(int(shard.offsets[document]), int(shard.offsets[document + 1]))
        ids = np.asarray(shard.tokens[piece])
        columns = {name: np.asarray(column[piece]) for name, column in shard.columns.items()}
        if size < shard.sizes[document]:
            ends = np.cumsum(bytes_of[ids])
            whole = int(np.searchsorted(ends, size, side="right"))
            rest = tokenizer.decode(ids[whole : whole + 1])[: int(size - (ends[whole - 1] if whole else 0))]
            more = tokenizer.encode(rest) if rest else ids[:0]
            short = -(whole + len(more)) % multiple
            ids = np.concatenate([ids[:whole], more, np.full(short, tokenizer.pad)]).astype(ids.dtype)
            for name, values in columns.items():
                columns[name] = np.pad(np.append(values[:whole], np.full(len(more), values[whole])), (0, short))
        for name, values in {"tokens": ids, **columns}.items():
            held[name].append(values)
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in held["tokens"]])]).astype(np.int64)
    arrays = {name: np.concatenate(values) for name, values in held.items()}
    return Shard(shard.path, arrays.pop("tokens"), offsets, shard.hashes[:count], sizes, arrays)
