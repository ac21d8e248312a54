"""Checkpoints: written atomically, with a checksum and the run's identity, verified on load; two are kept.

A checkpoint is a folder: tensors.safetensors, and skeleton.json, which nests numbers, strings and references to tensors
and carries the digest of the tensors. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lllm.data.shard import file_digest
from lllm.errors import UserError
from lllm.results.files import write_json

__all__ = ["load_newest", "pack", "save", "unpack"]

_TENSORS, _SKELETON, _REFERENCE = "tensors.safetensors", "skeleton.json", "@tensor"


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """`value` with each tensor replaced by a reference and put into `tensors`; dicts need string keys.

    Raises:
        TypeError: something that a checkpoint cannot hold.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().contiguous().clone()
        return {_REFERENCE: path}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{path}: a checkpoint's dicts have string keys")
        return {key: pack(item, tensors, f"{path}/{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, tensors, f"{path}/{i}") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{path}: a checkpoint holds tensors, numbers, strings, lists and dicts, not {type(value).__name__}"
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `pack` (tuples come back as lists)."""
    if isinstance(value, dict):
        if set(value) == {_REFERENCE}:
            return tensors[value[_REFERENCE]]
        return {key: unpack(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    return value


def save(folder: Path, step: int, identity: str, state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write the checkpoint of `step`; older ones but the newest `keep` are deleted afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{step:08d}"
    scratch = folder / f".{step:08d}.{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        tensors: dict[str, Tensor] = {}
        skeleton = pack(state, tensors)
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, scratch / _TENSORS)
        _sync(scratch / _TENSORS)
        body = {"step": step, "identity": identity, "digest": file_digest(scratch / _TENSORS), "state": skeleton}
        write_json(scratch / _SKELETON, {**body, "checksum": _checksum(body)})
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
        _sync(folder)
    except OSError as error:
        raise UserError(
            f"{target}: the checkpoint could not be written ({error.strerror}); the one before it is intact, and the "
            "same command continues from it"
        ) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_newest(folder: Path, identity: str, device: torch.device | str = "cpu") -> tuple[int, dict[str, Any]] | None:
    """(step, state) of the newest checkpoint that is whole; damaged ones are passed over. None: there is none.

    Raises:
        UserError: a whole checkpoint belongs to another run.
    """
    for path in reversed(_steps(folder)):
        found = _read(path, device)
        if found is None:
            continue
        body, tensors = found
        if body["identity"] != identity:
            raise UserError(
                f"{path}: checkpoint of another run (identity {body['identity'][:8]}, expected {identity[:8]}); "
                "move it away to train from the beginning"
            )
        return int(body["step"]), unpack(body["state"], tensors)
    return None


def _read(path: Path, device: torch.device | str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The contents of a checkpoint, or None when it is damaged."""
    try:
        body = json.loads((path / _SKELETON).read_text(encoding="utf-8"))
        checksum = body.pop("checksum")
        if checksum != _checksum(body) or file_digest(path / _TENSORS) != body["digest"]:
            return None
        return body, load_file(path / _TENSORS, device=str(device))
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError):
        return None


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=16).hexdigest()


def _steps(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []


def _sync(path: Path) -> None:
    """Force a file or a folder to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
