"""Prepared data as they lie on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lllm.data.contracts import Split
from lllm.data.shard import Shard
from lllm.errors import UserError
from lllm.results.files import file_digest

__all__ = ["DIGEST", "INFO", "Dataset", "data_root", "dataset_info"]

INFO, DIGEST = "dataset.json", "dataset.digest"


def data_root() -> Path:
    """Where prepared data lives: $LLLM_DATA, or .lllm/data in the working directory."""
    return Path(os.environ.get("LLLM_DATA", ".lllm/data"))


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
    file, digest = path / INFO, path / DIGEST
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
    if not isinstance(info.get("overlap", []), list):
        return False
    named = all(isinstance(names, list) and names and all(isinstance(n, str) for n in names) for names in splits)
    return named and all(isinstance(info.get(key), str) for key in ("fingerprint", "made"))
