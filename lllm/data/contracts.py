"""Contracts of what comes before the model: a corpus yields documents, a tokenizer turns their bytes into ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lllm.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Corpus", "Document", "Ids", "Scored", "Split", "Tokenizer"]

Ids = NDArray[np.int64]
Split = Literal["train", "valid"]


@dataclass(frozen=True)
class Document:
    """One document as raw bytes.

    ended: whether EOS follows, and is predicted; not where the text goes on elsewhere, or a task has one answer.
    unscored: byte spans [start, stop) that are read but never scored; tokens never merge across a span's edge.
    columns: named per-byte numbers [len(raw)] (weights, answer masks), averaged over the bytes of each token.
    """

    raw: bytes
    unscored: Sequence[tuple[int, int]] = ()
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    ended: bool = True


@dataclass(frozen=True)
class Scored:
    """Rows of validation documents as a model scored them. B rows, N chunks, R tokens of a chunk.

    chunk [B, N, R]: ids. ok [B, N, R]: the tokens that count: real, with loss, and not in an unscored span.
    bytes [B, N, R]: raw bytes that each id stands for; 0 for EOS and padding.
    columns: name -> [B, N, R], the documents' own, aligned with the ids; 1 for EOS, 0 for padding.
    nats [B, N, R]: of the primary likelihood, 0 where not ok; None where it has none per token.
    greedy [B, N, R]: ids predicted one token at a time, each the likeliest given the true tokens that the head draws
    before it; None unless the corpus asks for them.
    """

    chunk: Tensor
    ok: Tensor
    bytes: Tensor
    columns: Mapping[str, Tensor]
    nats: Tensor | None = None
    greedy: Tensor | None = None


class Tokenizer(Part, ABC):
    """Bytes to ids and back, exactly: decode(encode(b)) == b for any byte string.

    vocab: number of ids, specials included. eos ends a document and is predicted like any token; pad fills rows and
    is neither read nor scored. illegal: ids that are never predicted or sampled (pad among them).
    """

    kind: ClassVar[str] = "tokenizer"
    section: ClassVar[str] = ""
    vocab: int
    eos: int
    pad: int
    illegal: tuple[int, ...]

    @abstractmethod
    def encode(self, raw: bytes) -> Ids:
        """Ids [n] of `raw`, without specials."""

    @abstractmethod
    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        """The bytes of `ids`; specials give none."""

    @property
    @abstractmethod
    def bytes_per_token(self) -> Ids:
        """Raw bytes that each id stands for [V]; 0 for specials."""


class Corpus(Part, ABC):
    """Documents for training and validation, in a fixed order.

    greedy: whether its metrics read the head's greedy predictions, which evaluation then computes.
    located_by: the config's fields that say where a text lies; in an identity its digest stands in their place.
    """

    kind: ClassVar[str] = "corpus"
    section: ClassVar[str] = ""
    greedy: ClassVar[bool] = False
    located_by: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def documents(self, split: Split) -> Iterator[Document]:
        """The documents of a split. Raises UserError where there are none to read."""

    @abstractmethod
    def digest(self) -> str:
        """Changes whenever a document of either split does."""

    @abstractmethod
    def describe(self) -> str:
        """How it was made, in one line."""

    def metrics(self, scored: Scored) -> Mapping[str, tuple[Tensor, Tensor]]:
        """What it measures beside bits per byte: name -> (sum [B], weight [B]) per row, the same names for any rows.
        Each row is measured by itself. The metric is sum / weight over all evaluated documents, and says nothing
        where the weight is 0."""
        return {}

    def conclude_metrics(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """The numbers that are reported, from the means over all evaluated documents (NaN where the weight is 0)."""
        return means
