"""documents.npz: what each validation document cost, under each likelihood, so that runs can be compared in pairs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lllm.errors import UserError
from lllm.results.files import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Documents", "read_documents", "write_documents"]

_NATS = "nats."


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
