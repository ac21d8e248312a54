"""documents.npz: what each validation document cost, under each likelihood, so that runs can be compared in pairs; and
each block of the evaluated text, for where documents are few."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lllm.errors import UserError
from lllm.results.files import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Documents", "read_documents", "write_documents"]

_NATS = "nats."
_BLOCK = "block."


@dataclass(frozen=True)
class Documents:
    """hash [n, 16] uint8: blake2b-128 of the raw bytes; bytes [n] int64; nats: likelihood -> [n] float64, with EOS.

    block_bytes [B], block_nats: the same of contiguous pieces of about equal bytes of the same text, in its order; None
    and none where a run was made before there were any.
    """

    hash: NDArray[np.uint8]
    bytes: NDArray[np.int64]
    nats: Mapping[str, NDArray[np.float64]]
    block_bytes: NDArray[np.int64] | None = None
    block_nats: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def write_documents(path: Path, documents: Documents) -> None:
    """Write documents.npz atomically."""
    import numpy as np

    arrays: dict[str, Any] = {
        "hash": np.asarray(documents.hash, np.uint8),
        "bytes": np.asarray(documents.bytes, np.int64),
        **{_NATS + name: np.asarray(nats, np.float64) for name, nats in documents.nats.items()},
        **{_BLOCK + _NATS + name: np.asarray(nats, np.float64) for name, nats in documents.block_nats.items()},
    }
    if documents.block_bytes is not None:
        arrays[_BLOCK + "bytes"] = np.asarray(documents.block_bytes, np.int64)
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
            found = Documents(
                file["hash"],
                file["bytes"],
                _named(file, _NATS),
                file[_BLOCK + "bytes"] if _BLOCK + "bytes" in file.files else None,
                _named(file, _BLOCK + _NATS),
            )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a finished run") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path}: damaged; expected the arrays hash, bytes and nats.NAME") from None
    if not _fit(found):
        raise UserError(f"{path}: damaged; its arrays hash, bytes and nats.NAME are not of one length")
    return found


def _named(file: Any, prefix: str) -> dict[str, NDArray[np.float64]]:
    return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}


def _fit(found: Documents) -> bool:
    """Whether there is one number per document, and one per block."""
    blocks = () if found.block_bytes is None else found.block_bytes.shape
    per_document = [found.bytes, *found.nats.values()]
    return all(array.shape == found.hash.shape[:1] for array in per_document) and all(
        array.shape == blocks for array in found.block_nats.values()
    )
