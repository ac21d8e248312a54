"""Corpus and tokenizer to shards on disk, once. The folder is named after everything that goes in; the fingerprints are
of what came out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lllm.data.contracts import Corpus, Document, Split, Tokenizer
from lllm.data.dataset import DIGEST, INFO, Dataset, Shard, data_root, write_shard
from lllm.data.overlap import Overlap
from lllm.data.tokens import Columns, flaw, ids_of, rows_of
from lllm.errors import UserError
from lllm.results.files import explained, file_digest

__all__ = ["prepare", "shard_of"]

_FORMAT = 2  # raised when the same documents would give other shards
_SHARD_TOKENS = 1 << 26
_DECODED = 64  # one training document in so many, by its hash, is decoded again


def prepare(
    corpus: Corpus,
    tokenizer: Tokenizer,
    nodes: Mapping[str, Mapping[str, Any]],
    *,
    multiple: int,
    source: str = "",
    root: Path | None = None,
    progress: Callable[[str, int], None] = lambda split, done: None,
) -> Dataset:
    """The dataset of these documents, from disk when it is there already.

    Each document that has ended gets EOS, and all are padded to `multiple` tokens. nodes: 'corpus' and 'tokenizer' as
    they are configured; source: digest of the code of both, so that an edited part does not find its old shards.
    `progress(split, bytes)` is called as work is done, of validation first.

    Raises:
        UserError: the corpus cannot be read or has an empty split; the tokenizer's ids are not the documents' bytes;
            prepared data is damaged.
    """
    names = {kind: str(nodes.get(kind, {}).get("use", "")) for kind in ("corpus", "tokenizer")}
    path = root or data_root()
    path /= _digest([_FORMAT, names["corpus"], corpus.digest(), nodes.get("tokenizer"), source, multiple])[:16]
    if not (path / INFO).is_file():
        with explained(path):
            _Preparation(corpus, tokenizer, names, multiple, progress).write(path)
    dataset = Dataset.open(path)
    # the same text may have been prepared from another file, whose name the folder bears
    return replace(dataset, info={**dataset.info, "made": corpus.describe()})


def shard_of(documents: Sequence[Document], tokenizer: Tokenizer, multiple: int) -> Shard:
    """Documents as a shard in memory, tokenized, ended and padded as prepared ones are; its path is empty."""
    made = [
        _Tokenized(_hash(one), len(one.raw), *rows_of(one, ids_of(one, tokenizer), tokenizer, multiple))
        for one in documents
    ]
    return _joined(made)


@dataclass(frozen=True)
class _Tokenized:
    """A document as shards have it. hash: blake2b-128 of its raw bytes; size: how many; ids and columns [n]."""

    hash: bytes
    size: int
    ids: NDArray[Any]
    columns: Columns


@dataclass(frozen=True)
class _Written:
    """A split on disk. shards: their names; counts: documents, tokens, bytes; documents, tokens: digests of the raw
    bytes in their order, and of all else."""

    shards: list[str]
    counts: dict[str, int]
    documents: str
    tokens: str


@dataclass(frozen=True)
class _Preparation:
    """What a dataset is made of. names: of the corpus and the tokenizer."""

    corpus: Corpus
    tokenizer: Tokenizer
    names: Mapping[str, str]
    multiple: int
    progress: Callable[[str, int], None]

    def write(self, path: Path) -> None:
        """Write the dataset's folder; readers see nothing or all of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        try:
            (scratch / INFO).write_text(json.dumps(self._fill(scratch), indent=1))
            (scratch / DIGEST).write_text(file_digest(scratch / INFO), encoding="ascii")
            _set_aside(path)
            try:
                scratch.rename(path)
            except OSError:  # another process prepared the same data first
                if not (path / INFO).is_file():
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _fill(self, folder: Path) -> dict[str, Any]:
        """Write the shards of both splits; what dataset.json says of them."""
        corpus, tokenizer = self.corpus, self.tokenizer
        overlap = Overlap(corpus.documents("valid"))
        long = np.flatnonzero(np.asarray(tokenizer.bytes_per_token) > 1)
        overlap.search(b"".join(tokenizer.decode([int(i)]) for i in long))  # a vocabulary is read from training, too
        valid = self._split("valid", folder, overlap)  # first: what a tokenizer does wrong is found before long
        train = self._split("train", folder, overlap)
        documents = _digest([self.names["corpus"], train.documents, valid.documents])
        return {
            "fingerprint": _digest([documents, train.tokens, valid.tokens, self.multiple]),
            "documents": documents,
            "made": corpus.describe(),
            "multiple": self.multiple,
            "pad": tokenizer.pad,
            "shards": {"train": train.shards, "valid": valid.shards},
            "counts": {"train": train.counts, "valid": valid.counts},
            "overlap": [i for i, one in enumerate(corpus.documents("valid")) if overlap.inside(one.raw)],
        }

    def _split(self, split: Split, folder: Path, overlap: Overlap) -> _Written:
        """Write its shards. Raises UserError where it has no documents, or the tokenizer's ids are not their bytes."""
        shards: list[str] = []
        pending: list[_Tokenized] = []
        counts = {"documents": 0, "tokens": 0, "bytes": 0}
        documents, tokens = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
        tokens.update(np.asarray(self.tokenizer.bytes_per_token, np.int64).tobytes())

        def flush() -> None:
            shards.append(f"{split}-{len(shards):05d}")
            write_shard(folder / shards[-1], _joined(pending))
            pending.clear()

        held = 0  # tokens of `pending`
        for document in self.corpus.documents(split):
            made = self._tokenized(document, split, counts["documents"])
            if split == "train":
                overlap.search(document.raw)
            pending.append(made)
            documents.update(made.hash + made.size.to_bytes(8, "little"))
            tokens.update(len(made.ids).to_bytes(8, "little") + made.ids.tobytes())
            for name, values in sorted(made.columns.items()):
                tokens.update(name.encode() + b"\0" + values.tobytes())
            counts["documents"] += 1
            counts["tokens"] += len(made.ids)
            counts["bytes"] += made.size
            self.progress(split, counts["bytes"])
            held += len(made.ids)
            if held >= _SHARD_TOKENS:
                flush()
                held = 0
        if pending:
            flush()
        if not shards:
            raise UserError(f"corpus: no documents for {split} ({self.corpus.describe()})")
        return _Written(shards, counts, documents.hexdigest(), tokens.hexdigest())

    def _tokenized(self, document: Document, split: Split, place: int) -> _Tokenized:
        """With its ids compared with its bytes, where it is to be."""
        ids, digest = ids_of(document, self.tokenizer), _hash(document)
        if (split == "valid" or digest[0] % _DECODED == 0) and (wrong := flaw(self.tokenizer, document.raw, ids)):
            whose = self.names["tokenizer"] or type(self.tokenizer).__name__
            raise UserError(f"tokenizer '{whose}', document {place} of {split} ({digest.hex()[:8]}): {wrong}")
        return _Tokenized(digest, len(document.raw), *rows_of(document, ids, self.tokenizer, self.multiple))


def _set_aside(path: Path) -> None:
    """Move what is left of prepared data without its dataset.json to .NAME.remnant: it stands in the way."""
    if not path.exists() or (path / INFO).is_file():
        return
    targets = (path.with_name(f".{path.name}.remnant{number}") for number in chain([""], count(2)))
    with suppress(FileNotFoundError):  # another process moved it first
        path.rename(next(target for target in targets if not target.exists()))


def _joined(made: Sequence[_Tokenized]) -> Shard:
    """A shard in memory."""
    columns = {
        name: np.concatenate([one.columns.get(name, np.ones(len(one.ids), dtype=np.float32)) for one in made])
        for name in sorted({name for one in made for name in one.columns})
    }
    return Shard(
        Path(),
        tokens=np.concatenate([one.ids for one in made]),
        offsets=np.concatenate([[0], np.cumsum([len(one.ids) for one in made])]).astype(np.int64),
        hashes=np.frombuffer(b"".join(one.hash for one in made), dtype=np.uint8).reshape(-1, 16),
        sizes=np.array([one.size for one in made], dtype=np.int64),
        columns=columns,
    )


def _hash(document: Document) -> bytes:
    return hashlib.blake2b(document.raw, digest_size=16).digest()


def _digest(value: Any) -> str:
    """128 bits, hex, of plain values."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
