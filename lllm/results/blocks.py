"""What an evaluation found piece by piece: the units that are drawn when its noise is estimated.

Whole documents where there are enough of them, in contiguous groups; blocks of the evaluated text where there are few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lllm.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lllm.results.documents import Documents
    from lllm.results.records import Record

__all__ = ["MOST", "Blocks", "blocks_of", "contiguous", "packed", "summed"]

MOST = 64  # units of a run, and the fewest documents that are drawn themselves
_DIGITS = 7  # significant digits of nats, wherever they are read from: a table is the same from a committed line
_UNITS = ("document", "block")

Unit = Literal["document", "block"]


@dataclass(frozen=True)
class Blocks:
    """key: equal where two runs scored the same units; unit: groups of whole documents, or blocks of text; bytes [B]
    int64, nats [B] float64 of the primary likelihood, B <= 64."""

    key: str
    unit: Unit
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


def summed(values: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of values [n] by group."""
    import numpy as np

    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.asarray(np.add.reduceat(values, starts) if len(values) else values)


def blocks_of(record: Record) -> Blocks | None:
    """Of a finished run, from its directory or its committed line; None where neither has them, or there are no nats.

    Raises:
        UserError: documents.npz, or what the line says, is damaged.
    """
    from lllm.results.documents import read_documents

    result = record.result or {}
    if result.get("kind") == "none":
        return None
    if record.path is None:
        return None if record.blocks is None else _unpacked(record.blocks, f"{record.name}, its line of runs.jsonl")
    path = record.path / "documents.npz"
    return _of(read_documents(path), str(result.get("likelihood"))) if path.is_file() else None


def packed(blocks: Blocks) -> dict[str, Any]:
    """As a committed line has them."""
    return {"key": blocks.key, "unit": blocks.unit, "bytes": blocks.bytes.tolist(), "nats": blocks.nats.tolist()}


def _of(documents: Documents, name: str) -> Blocks | None:
    many = len(documents.bytes) >= MOST
    size, nats = (documents.bytes, documents.nats) if many else (documents.block_bytes, documents.block_nats)
    if size is None or name not in nats:
        return None
    value = nats[name]
    if many:
        group = contiguous(size)
        size, value = summed(size, group), summed(value, group)
    unit: Unit = "document" if many else "block"
    return Blocks(_key(documents, unit, size), unit, size, _rounded(value))


def _key(documents: Documents, unit: Unit, size: NDArray[np.int64]) -> str:
    """Of which documents, how much of each, and where they are cut: in bytes, for a text of the same documents."""
    import numpy as np

    digest = hashlib.blake2b(unit.encode(), digest_size=16)
    for array in (documents.hash, documents.bytes, size):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([float(f"{value:.{_DIGITS}g}") for value in values], np.float64)


def _unpacked(line: Mapping[str, Any], where: str) -> Blocks:
    import numpy as np

    try:
        key, unit = str(line["key"]), line["unit"]
        size, nats = np.array(line["bytes"], np.int64), np.array(line["nats"], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _damaged(where) from None
    if unit not in _UNITS or size.ndim != 1 or size.shape != nats.shape:
        raise _damaged(where)
    return Blocks(key, unit, size, nats)


def _damaged(where: str) -> UserError:
    return UserError(f"{where}: its blocks are damaged; expected key, unit, and as many bytes as nats")
