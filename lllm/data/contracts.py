"""Contracts of what comes before the model: a corpus yields documents, a tokenizer turns their bytes into ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lllm.registry import Part, PartConfig

__all__ = ["Corpus", "Document", "Ids", "Split", "Tokenizer"]

Ids = NDArray[np.int64]
Split = Literal["train", "valid"]


@dataclass(frozen=True)
class Document:
    """One document as raw bytes.

    unscored: byte spans [start, stop) that are read but never scored; tokens never merge across a span's edge.
    columns: named per-byte numbers [len(raw)] (weights, answer masks), averaged over the bytes of each token.
    """

    raw: bytes
    unscored: Sequence[tuple[int, int]] = ()
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Tokenizer(Part, ABC):
    """Bytes to ids and back, exactly: decode(encode(b)) == b for any byte string.

    vocab: number of ids, specials included. eos ends a document and is predicted like any token; pad fills rows and
    is neither read nor scored. illegal: ids that are never predicted or sampled (pad among them).
    """

    kind: ClassVar[str] = "tokenizer"
    vocab: int
    eos: int
    pad: int
    illegal: tuple[int, ...]

    def __init__(self, config: PartConfig) -> None:
        self.config = config

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
    """Documents for training and validation, in a fixed order."""

    kind: ClassVar[str] = "corpus"

    def __init__(self, config: PartConfig) -> None:
        self.config = config

    @abstractmethod
    def documents(self, split: Split) -> Iterator[Document]:
        """The documents of a split. Raises UserError where there are none to read."""

    @abstractmethod
    def digest(self) -> str:
        """Changes whenever a document of either split does."""

    @abstractmethod
    def describe(self) -> str:
        """How it was made, in one line."""

    def extra(self) -> dict[str, Any]:
        """Facts worth recording beside a run."""
        return {}
