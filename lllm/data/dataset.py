"""Prepared data as they lie on disk: shards, folders of arrays that are written atomically, each array with its digest,
verified when it is opened."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from lllm.errors import UserError
from lllm.results.files import file_digest

__all__ = ["DIGEST", "INFO", "Dataset", "Shard", "data_root", "dataset_info", "write_shard"]

INFO, DIGEST = "dataset.json", "dataset.digest"
_COLUMN = "column."
_ARRAYS = ("tokens", "offsets", "hashes", "sizes")


def data_root() -> Path:
    """Where prepared data lives: $LLLM_DATA, or .lllm/data in the working directory."""
    return Path(os.environ.get("LLLM_DATA", ".lllm/data"))


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
    def open(path: Path) -> Shard:
        """The shard at `path`.

        Raises:
            UserError: it is missing a file, or a file is not the one that was written.
        """
        try:
            digests = TypeAdapter(dict[str, str]).validate_json((path / "digests.json").read_bytes())
        except (OSError, ValueError):
            raise _damaged(path, "digests.json", "missing or damaged") from None
        if lacking := [name for name in _ARRAYS if name not in digests]:
            raise _damaged(path, "digests.json", f"damaged (it lacks '{lacking[0]}')")
        arrays: dict[str, NDArray[Any]] = {}
        for name, expected in digests.items():
            file = path / f"{name}.npy"
            try:
                if file_digest(file) != expected:
                    raise ValueError("not the digest that was written")
                arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError):
                raise _damaged(path, file.name, "missing or corrupted") from None
        columns = {name.removeprefix(_COLUMN): arrays[name] for name in arrays if name.startswith(_COLUMN)}
        return Shard(path, **{name: arrays[name] for name in _ARRAYS}, columns=columns)


def _damaged(path: Path, file: str, how: str) -> UserError:
    return UserError(f"shard {path}: {file} is {how}; delete {path.parent} to have it prepared anew")


def write_shard(path: Path, shard: Shard) -> None:
    """Write the arrays of a shard; readers see nothing or all of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    arrays = {name: getattr(shard, name) for name in _ARRAYS}
    arrays |= {_COLUMN + name: column for name, column in shard.columns.items()}
    for name, array in arrays.items():
        np.save(scratch / f"{name}.npy", array, allow_pickle=False)
    digests = {name: file_digest(scratch / f"{name}.npy") for name in arrays}
    (scratch / "digests.json").write_text(json.dumps(digests, indent=1))
    scratch.rename(path)


@dataclass(frozen=True)
class Dataset:
    """Prepared data. path: its folder; info: how it was made; train, valid: shards in order.

    info has `fingerprint`: of all arrays, what makes two datasets the same; `documents`: of the corpus's name and the
    raw bytes of its documents, their split and their order, whatever the tokenizer; `made`: what the corpus says of
    itself; `overlap`: the places of validation documents more than half of which is in training; counts per split.
    """

    path: Path
    info: dict[str, Any]
    train: Sequence[Shard]
    valid: Sequence[Shard]

    @property
    def fingerprint(self) -> str:
        """What makes two datasets the same."""
        return str(self.info["fingerprint"])

    @property
    def documents(self) -> str:
        """What makes the documents of two datasets the same, of whatever tokenizers."""
        return str(self.info["documents"])

    @staticmethod
    def open(path: Path) -> Dataset:
        """The dataset prepared at `path`. Raises UserError when it is damaged."""
        info = dataset_info(path)
        train, valid = ([Shard.open(path / name) for name in info["shards"][split]] for split in ("train", "valid"))
        return Dataset(path, info, train, valid)


def dataset_info(path: Path) -> dict[str, Any]:
    """dataset.json of the data prepared at `path`, compared with its digest.

    Raises:
        UserError: it is missing, or not what was written.
    """
    file = path / INFO
    try:
        info: dict[str, Any] = json.loads(file.read_bytes())
        whole = (path / DIGEST).read_text(encoding="ascii") == file_digest(file)
    except (OSError, ValueError):
        raise UserError(f"{file}: missing or damaged; delete {path} to have it prepared anew") from None
    if not whole:
        raise UserError(f"{file}: not what was written; delete {path} to have it prepared anew")
    return info
