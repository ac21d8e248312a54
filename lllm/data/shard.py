"""A shard: a folder of arrays, written atomically, each with its digest, verified when it is opened."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lllm.errors import UserError
from lllm.results.files import file_digest

__all__ = ["Shard", "write_shard"]

_COLUMN = "column."
_ARRAYS = ("tokens", "offsets", "hashes", "sizes")


@dataclass(frozen=True)
class Shard:
    """tokens [n] memory-mapped; offsets [docs + 1] into tokens; hashes [docs, 16] blake2b-128 of each document's raw
    bytes; sizes [docs] raw bytes; columns: name -> [n]."""

    path: Path
    tokens: NDArray[Any]
    offsets: NDArray[np.int64]
    hashes: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]

    @staticmethod
    def open(path: Path, *, verify: bool = True) -> Shard:
        """The shard at `path`.

        Raises:
            UserError: it is missing a file, or a file is not the one that was written.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for name, expected in _digests(path).items():
            file = path / f"{name}.npy"
            try:
                if verify and file_digest(file) != expected:
                    raise ValueError("not the digest that was written")
                arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError):
                raise _damaged(path, file.name, "missing or corrupted") from None
        columns = {name.removeprefix(_COLUMN): arrays[name] for name in arrays if name.startswith(_COLUMN)}
        return Shard(path, arrays["tokens"], arrays["offsets"], arrays["hashes"], arrays["sizes"], columns)


def _digests(path: Path) -> dict[str, str]:
    """Array -> digest, of every array that a shard has."""
    try:
        digests = json.loads((path / "digests.json").read_bytes())
    except (OSError, ValueError):
        digests = None
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise _damaged(path, "digests.json", "missing or damaged")
    lacking = [name for name in _ARRAYS if name not in digests]
    if lacking:
        raise _damaged(path, "digests.json", f"damaged (it lacks '{lacking[0]}')")
    return digests


def _damaged(path: Path, file: str, how: str) -> UserError:
    return UserError(f"shard {path}: {file} is {how}; delete {path.parent} to have it prepared anew")


def write_shard(
    path: Path,
    tokens: NDArray[Any],
    offsets: NDArray[np.int64],
    hashes: NDArray[np.uint8],
    sizes: NDArray[np.int64],
    columns: Mapping[str, NDArray[Any]],
) -> None:
    """Write a shard; readers see nothing or all of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    arrays = {"tokens": tokens, "offsets": offsets, "hashes": hashes, "sizes": sizes}
    arrays |= {_COLUMN + name: column for name, column in columns.items()}
    for name, array in arrays.items():
        np.save(scratch / f"{name}.npy", array, allow_pickle=False)
    digests = {name: file_digest(scratch / f"{name}.npy") for name in arrays}
    (scratch / "digests.json").write_text(json.dumps(digests, indent=1))
    scratch.rename(path)
