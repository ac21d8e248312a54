"""Tokenizers and corpora of these tests: sound ones, and planted cheats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lllm.data.contracts import Corpus, Document, Ids, Split, Tokenizer
from lllm.registry import Build, PartConfig, Registry

TRIGRAMS = (
    b"the",
    b"ing",
    b"and",
    b"ion",
    b"tio",
    b"ent",
    b"for",
    b"her",
    b"ter",
    b"hat",
    b"tha",
    b"ere",
    b"ate",
    b"his",
)


class Listed(Corpus):
    """Documents from lists."""

    def __init__(self, train: Sequence[Document], valid: Sequence[Document]) -> None:
        super().__init__(PartConfig(), Build(Registry(), {}))
        self.splits = {"train": train, "valid": valid}

    def documents(self, split: Split) -> Iterator[Document]:
        return iter(self.splits[split])

    def digest(self) -> str:
        return repr(self.splits)

    def describe(self) -> str:
        return "toy"


class Pairs(Tokenizer):
    """Bytes, and one id for each pair of `lead` and another byte."""

    lead = 0
    vocab, eos, pad, illegal = 514, 512, 513, (513,)

    def encode(self, raw: bytes) -> Ids:
        ids, i = [], 0
        while i < len(raw):
            pair = raw[i] == self.lead and i + 1 < len(raw)
            ids.append(256 + raw[i + 1] if pair else raw[i])
            i += 1 + pair
        return np.array(ids, dtype=np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        return b"".join(bytes([self.lead, i - 256]) if i >= 256 else bytes([i]) for i in map(int, ids) if i < 512)

    @property
    def bytes_per_token(self) -> Ids:
        return np.repeat([1, 2, 0], [256, 256, 2])


class Book(Tokenizer):
    """A cheat: its vocabulary is a text, cut into pieces of 40 bytes."""

    text = b""
    vocab, eos, pad, illegal = 512, 510, 511, (511,)

    def pieces(self) -> list[bytes]:
        return [self.text[start : start + 40] for start in range(0, len(self.text) // 40 * 40, 40)]

    def encode(self, raw: bytes) -> Ids:
        ids, i, known = [], 0, {piece: 256 + i for i, piece in enumerate(self.pieces())}
        while i < len(raw):
            ids.append(known.get(raw[i : i + 40], raw[i]))
            i += 40 if ids[-1] >= 256 else 1
        return np.array(ids, dtype=np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        pieces = self.pieces()
        return b"".join(pieces[i - 256] if i >= 256 else bytes([i]) for i in map(int, ids) if i < 256 + len(pieces))

    @property
    def bytes_per_token(self) -> Ids:
        count = len(self.pieces())
        return np.repeat([1, 40, 0], [256, count, self.vocab - 256 - count])


class Folded(Tokenizer):
    """A cheat: 14 trigrams are one id, as if they were one text."""

    vocab, eos, pad, illegal = 259, 257, 258, (258,)

    def encode(self, raw: bytes) -> Ids:
        ids, i = [], 0
        while i < len(raw):
            folded = raw[i : i + 3] in TRIGRAMS
            ids.append(256 if folded else raw[i])
            i += 3 if folded else 1
        return np.array(ids, dtype=np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        return b"".join(TRIGRAMS[0] if i == 256 else bytes([i]) for i in map(int, ids) if i < 257)

    @property
    def bytes_per_token(self) -> Ids:
        return np.repeat([1, 3, 0], [256, 1, 2])


class Inflated(Folded):
    """A cheat: "the" is one id, and is said to be 30 bytes."""

    def encode(self, raw: bytes) -> Ids:
        return np.frombuffer(raw.replace(b"the", b"\xff"), dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        return bytes(int(i) for i in ids if i < 256).replace(b"\xff", b"the")

    @property
    def bytes_per_token(self) -> Ids:
        sizes = np.repeat([1, 0], [256, 3])
        sizes[255] = 30
        return sizes


class Padded(Folded):
    """A cheat: padding before each "t", which is neither read nor scored, but says what comes."""

    def encode(self, raw: bytes) -> Ids:
        return np.array([i for byte in raw for i in ([258, byte] if byte == ord("t") else [byte])], dtype=np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        return bytes(int(i) for i in ids if i < 256)
