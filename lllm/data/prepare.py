"""Corpus and tokenizer to shards on disk, once; the folder's name is the fingerprint of everything that went in."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lllm.data.contracts import Corpus, Document, Split, Tokenizer
from lllm.data.shard import Shard, write_shard
from lllm.errors import UserError
from lllm.results.files import explained, file_digest

__all__ = ["Dataset", "data_root", "dataset_info", "fingerprint", "prepare", "shard_of"]

_FORMAT = 1  # raised when the same documents would give other shards
_SHARD_TOKENS = 1 << 26
_INFO, _DIGEST = "dataset.json", "dataset.digest"
_Tokenized = tuple[Document, NDArray[Any], dict[str, NDArray[np.float32]]]  # with its ids and per-token columns


def data_root() -> Path:
    """Where prepared data lives: $LLLM_DATA, or .lllm/data in the working directory."""
    return Path(os.environ.get("LLLM_DATA", ".lllm/data"))


@dataclass(frozen=True)
class Dataset:
    """Prepared data. path: its folder; info: how it was made; train, valid: shards in order."""

    path: Path
    info: dict[str, Any]
    train: Sequence[Shard]
    valid: Sequence[Shard]

    @property
    def fingerprint(self) -> str:
        """What makes two datasets the same."""
        return str(self.info["fingerprint"])

    @staticmethod
    def open(path: Path, *, verify: bool = True) -> Dataset:
        """The dataset prepared at `path`. Raises UserError when it is damaged."""
        info = dataset_info(path)
        shards: dict[str, list[Shard]] = {
            split: [Shard.open(path / name, verify=verify) for name in info["shards"][split]]
            for split in info["shards"]
        }
        return Dataset(path, info, shards["train"], shards["valid"])


def dataset_info(path: Path) -> dict[str, Any]:
    """dataset.json of the data prepared at `path`, compared with its digest where there is one.

    Raises:
        UserError: it is missing, or not what was written.
    """
    file, digest = path / _INFO, path / _DIGEST
    try:
        info = json.loads(file.read_bytes())
        whole = not digest.is_file() or digest.read_text(encoding="ascii") == file_digest(file)
    except (OSError, ValueError):
        raise UserError(f"{file}: missing or damaged; delete {path} to have it prepared anew") from None
    if not (whole and _sound(info)):
        raise UserError(f"{file}: not what was written; delete {path} to have it prepared anew")
    found: dict[str, Any] = info
    return found


def _sound(info: Any) -> bool:
    """Whether the fields that are read have their shape."""
    if not isinstance(info, dict) or not isinstance(info.get("shards"), dict):
        return False
    splits = [info["shards"].get(split) for split in get_args(Split)]
    counts = info.get("counts", {})
    if not isinstance(counts, dict) or not all(isinstance(count, dict) for count in counts.values()):
        return False
    named = all(isinstance(names, list) and names and all(isinstance(n, str) for n in names) for names in splits)
    return named and all(isinstance(info.get(key), str) for key in ("fingerprint", "made"))


def fingerprint(corpus: Corpus, tokenizer_node: dict[str, Any], multiple: int) -> str:
    """Identity of prepared data: the documents, the tokenizer, the padding and the format (128 bits, hex)."""
    key = json.dumps([_FORMAT, corpus.digest(), tokenizer_node, multiple], sort_keys=True)
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def prepare(
    corpus: Corpus,
    tokenizer: Tokenizer,
    tokenizer_node: dict[str, Any],
    *,
    multiple: int,
    root: Path | None = None,
    progress: Callable[[str, int], None] = lambda split, done: None,
) -> Dataset:
    """The dataset of these documents, from disk when it is there already.

    Each document ends with EOS and is padded to `multiple` tokens. `progress(split, bytes)` is called as work is done.

    Raises:
        UserError: the corpus cannot be read or has an empty split; prepared data is damaged.
    """
    key = fingerprint(corpus, tokenizer_node, multiple)
    path = (root or data_root()) / key[:16]
    if (path / _INFO).is_file():
        return Dataset.open(path)
    with explained(path):
        _prepare(path, key, corpus, tokenizer, multiple, progress)
    return Dataset.open(path)


def shard_of(documents: Sequence[Document], tokenizer: Tokenizer, multiple: int) -> Shard:
    """Documents as a shard in memory, tokenized, ended and padded as prepared ones are; its path is empty."""
    arrays = _arrays([(document, *_tokens(document, tokenizer, multiple)) for document in documents])
    return Shard(Path(), **arrays)


def _prepare(
    path: Path, key: str, corpus: Corpus, tokenizer: Tokenizer, multiple: int, progress: Callable[[str, int], None]
) -> None:
    """Write the dataset's folder; readers see nothing or all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        shards: dict[str, list[str]] = {}
        counts: dict[str, dict[str, int]] = {}
        for split in get_args(Split):
            shards[split], counts[split] = _write_split(corpus, tokenizer, split, multiple, scratch, progress)
        info = {"fingerprint": key, "made": corpus.describe(), "multiple": multiple, "pad": tokenizer.pad}
        info |= {"shards": shards, "counts": counts, **corpus.extra()}
        (scratch / _INFO).write_text(json.dumps(info, indent=1))
        (scratch / _DIGEST).write_text(file_digest(scratch / _INFO), encoding="ascii")
        _set_aside(path)
        try:
            scratch.rename(path)
        except OSError:  # another process prepared the same data first
            if not (path / _INFO).is_file():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _set_aside(path: Path) -> None:
    """Move what is left of prepared data without its dataset.json to .NAME.remnant: it stands in the way."""
    number, target = 1, path.with_name(f".{path.name}.remnant")
    if not path.exists() or (path / _INFO).is_file():
        return
    while target.exists():
        number += 1
        target = path.with_name(f".{path.name}.remnant{number}")
    with suppress(FileNotFoundError):  # another process moved it first
        path.rename(target)


def _write_split(
    corpus: Corpus,
    tokenizer: Tokenizer,
    split: Split,
    multiple: int,
    folder: Path,
    progress: Callable[[str, int], None],
) -> tuple[list[str], dict[str, int]]:
    names: list[str] = []
    pending: list[_Tokenized] = []
    counts = {"documents": 0, "tokens": 0, "bytes": 0}
    held = 0

    def flush() -> None:
        nonlocal held
        names.append(f"{split}-{len(names):05d}")
        write_shard(folder / names[-1], **_arrays(pending))
        pending.clear()
        held = 0

    for document in corpus.documents(split):
        ids, columns = _tokens(document, tokenizer, multiple)
        pending.append((document, ids, columns))
        held += len(ids)
        counts["documents"] += 1
        counts["tokens"] += len(ids)
        counts["bytes"] += len(document.raw)
        progress(split, counts["bytes"])
        if held >= _SHARD_TOKENS:
            flush()
    if pending:
        flush()
    if not names:
        raise UserError(f"corpus: no documents for {split} ({corpus.describe()})")
    return names, counts


def _tokens(
    document: Document, tokenizer: Tokenizer, multiple: int
) -> tuple[NDArray[Any], dict[str, NDArray[np.float32]]]:
    """Ids with EOS and padding, and per-token columns aligned with them."""
    edges = sorted({0, len(document.raw), *(edge for span in document.unscored for edge in span)})
    pieces = [tokenizer.encode(document.raw[a:b]) for a, b in pairwise(edges)]
    ids = np.concatenate([*pieces, np.array([tokenizer.eos])]) if pieces else np.array([tokenizer.eos])
    sizes = tokenizer.bytes_per_token[ids]
    columns = {name: _per_token(values, sizes) for name, values in document.columns.items()}
    if document.unscored:
        scored = np.ones(len(document.raw), dtype=np.float32)
        for start, stop in document.unscored:
            scored[start:stop] = 0
        columns["scored"] = _per_token(scored, sizes)
    short = -len(ids) % multiple
    dtype = np.uint16 if tokenizer.vocab <= 1 << 16 else np.uint32
    ids = np.concatenate([ids, np.full(short, tokenizer.pad)]).astype(dtype)
    return ids, {name: np.pad(values, (0, short)) for name, values in columns.items()}


def _per_token(values: NDArray[np.float32], sizes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean over each token's bytes; 1 for tokens that have none (EOS)."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    ends = np.cumsum(sizes)
    sums = total[ends] - total[ends - sizes]
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), 1.0).astype(np.float32)


def _arrays(pending: Sequence[_Tokenized]) -> dict[str, Any]:
    """The arrays of a shard, by the names of its fields."""
    names = sorted({name for _, _, columns in pending for name in columns})
    offsets = np.concatenate([[0], np.cumsum([len(ids) for _, ids, _ in pending])]).astype(np.int64)
    digests = [hashlib.blake2b(document.raw, digest_size=16).digest() for document, _, _ in pending]
    hashes = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16)
    sizes = np.array([len(document.raw) for document, _, _ in pending], dtype=np.int64)
    columns = {
        name: np.concatenate([c.get(name, np.ones(len(ids), dtype=np.float32)) for _, ids, c in pending])
        for name in names
    }
    tokens = np.concatenate([ids for _, ids, _ in pending])
    return {"tokens": tokens, "offsets": offsets, "hashes": hashes, "sizes": sizes, "columns": columns}
