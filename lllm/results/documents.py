"""documents.npz: what each validation document cost, under each likelihood, so that runs can be compared in pairs; and
the blocks that a committed line has of it: documents, or neighbouring ones together where there are many."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lllm.errors import UserError
from lllm.results.files import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lllm.results.records import Record

__all__ = ["MOST", "Blocks", "Documents", "blocks_of", "contiguous", "packed", "read_documents", "write_documents"]

MOST = 64  # blocks of a run
_NATS = "nats."
_DIGITS = 7  # significant digits of nats, wherever they are read from: a table is the same from a committed line


@dataclass(frozen=True)
class Documents:
    """hash [n, 16] uint8: blake2b-128 of the raw bytes; bytes [n] int64; nats: likelihood -> [n] float64, with EOS."""

    hash: NDArray[np.uint8]
    bytes: NDArray[np.int64]
    nats: Mapping[str, NDArray[np.float64]]


def write_documents(path: Path, documents: Documents) -> None:
    """Write documents.npz atomically."""
    import numpy as np

    arrays: dict[str, Any] = {
        "hash": np.asarray(documents.hash, np.uint8),
        "bytes": np.asarray(documents.bytes, np.int64),
        **{_NATS + name: np.asarray(nats, np.float64) for name, nats in documents.nats.items()},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def read_documents(path: Path) -> Documents:
    """Read documents.npz.

    Raises:
        UserError: it is missing or damaged.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            nats = {name.removeprefix(_NATS): file[name] for name in file.files if name.startswith(_NATS)}
            found = Documents(file["hash"], file["bytes"], nats)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a finished run") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: damaged; expected the arrays hash, bytes and nats.NAME") from None
    if any(array.shape != found.hash.shape[:1] for array in (found.bytes, *found.nats.values())):
        raise UserError(f"{path}: damaged; its arrays hash, bytes and nats.NAME are not of one length")
    return found


@dataclass(frozen=True)
class Blocks:
    """key: equal where two runs scored the same documents; documents: how many; bytes [B] int64, nats [B] float64 of
    the primary likelihood, B <= 64: of each document, or of groups of whole neighbouring documents."""

    key: str
    documents: int
    bytes: NDArray[np.int64]
    nats: NDArray[np.float64]


def contiguous(size: NDArray[np.int64], most: int = MOST) -> NDArray[np.int64]:
    """Which of at most `most` contiguous groups of about equal sums each item [n] is in: 0, 0, 1, ...

    An item goes where it begins, and one of no size where the one before it is, so that no group is of no size unless
    all are.
    """
    import numpy as np

    size = np.asarray(size, np.int64)
    begins = np.cumsum(size) - size
    place = np.where(size > 0, begins * most // max(int(size.sum()), 1), 0)
    _, group = np.unique(np.maximum.accumulate(place), return_inverse=True)
    return np.asarray(group, np.int64)


def blocks_of(record: Record) -> Blocks | None:
    """Of a finished run, from its directory or its committed line; None where neither has them, or there are no nats.

    Raises:
        UserError: documents.npz, or what the line says, is damaged.
    """
    result = record.result or {}
    if result.get("kind") == "none":
        return None
    if record.path is None:
        return None if record.blocks is None else _unpacked(record.blocks, f"{record.name}, its line of runs.jsonl")
    path = record.path / "documents.npz"
    return _of(read_documents(path), str(result.get("likelihood"))) if path.is_file() else None


def packed(blocks: Blocks) -> dict[str, Any]:
    """As a committed line has them."""
    sums = {"bytes": blocks.bytes.tolist(), "nats": blocks.nats.tolist()}
    return {"key": blocks.key, "documents": blocks.documents, **sums}


def _of(documents: Documents, name: str) -> Blocks | None:
    import numpy as np

    if name not in documents.nats or not len(documents.bytes):
        return None
    size, nats = documents.bytes, documents.nats[name]
    if len(size) > MOST:
        starts = np.flatnonzero(np.diff(contiguous(size), prepend=-1))
        size, nats = np.add.reduceat(size, starts), np.add.reduceat(nats, starts)
    digest = hashlib.blake2b(digest_size=16)
    for array in (documents.hash, documents.bytes):
        digest.update(np.ascontiguousarray(array).tobytes())
    rounded = np.array([float(f"{value:.{_DIGITS}g}") for value in nats], np.float64)
    return Blocks(digest.hexdigest(), len(documents.bytes), size, rounded)


def _unpacked(line: Mapping[str, Any], where: str) -> Blocks | None:
    import numpy as np

    if "documents" not in line:  # written when blocks were pieces of text where documents were few
        return None
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        size, nats = np.array(line["bytes"], np.int64), np.array(line["nats"], np.float64)
        if size.ndim == 1 and size.shape == nats.shape:
            return Blocks(str(line["key"]), int(line["documents"]), size, nats)
    raise UserError(f"{where}: its blocks are damaged; expected key, documents, and as many bytes as nats")
