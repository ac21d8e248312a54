"""Checkpoints: written atomically, with a checksum and the run's identity, verified on load; two are kept.

A checkpoint is a folder: tensors.safetensors, and skeleton.json, which nests numbers, strings and references to tensors
and carries the digest of the tensors. Nothing is pickled. The weights that a finished run evaluated lie in a folder of
their own, so that a run killed while it finishes still has what it resumes from.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lllm.errors import UserError
from lllm.results.files import explained, file_digest, write_json

__all__ = ["damage", "discard", "is_strange", "load_newest", "load_resumable", "pack", "save", "unpack"]

_TENSORS, _SKELETON, _FINAL = "tensors.safetensors", "skeleton.json", "final"
_TENSOR, _FLOAT, _MARK = "@tensor", "@float", "@"  # keys of what JSON cannot hold; no other key begins with the mark


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """`value` with each tensor replaced by a reference and put into `tensors`; dicts need string keys.

    Raises:
        TypeError: something that a checkpoint cannot hold.
    """
    if isinstance(value, Tensor):
        name = f"{len(tensors):06d}{path}"  # counted: two paths may read the same
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and not key.startswith(_MARK) for key in value):
            raise TypeError(f"{path}: a checkpoint's dicts have string keys that do not begin with '{_MARK}'")
        return {key: pack(item, tensors, f"{path}/{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, tensors, f"{path}/{i}") for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{path}: a checkpoint holds tensors, numbers, strings, lists and dicts, not {type(value).__name__}"
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `pack` (tuples come back as lists)."""
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]]
        if set(value) == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: unpack(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    return value


def save(folder: Path, step: int, identity: str, state: Mapping[str, Any], *, final: bool = False) -> None:
    """Write the checkpoint of `step`; older ones but the newest two are deleted afterwards. final: of the finished
    run, the only one there, beside those from which it resumes. Only the owner of the run may call this.

    Raises:
        UserError: it cannot be written, because the disk is full, for example; those before it are intact.
    """
    place = folder / _FINAL if final else folder
    target = place / f"{step:08d}"
    scratch = place / f".{step:08d}.{os.getpid()}"
    with explained(target):
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob(".*"):  # by a process that was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)
        try:
            scratch.mkdir()
            _fill(scratch, step, identity, state)
            shutil.rmtree(target, ignore_errors=True)
            scratch.rename(target)
            _sync(place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    for old in _steps(place)[: -1 if final else -2]:
        shutil.rmtree(old, ignore_errors=True)


def load_resumable(
    folder: Path, identity: str, device: torch.device | str = "cpu"
) -> tuple[int, dict[str, Any]] | None:
    """(step, state) from which a run goes on: the newest checkpoint that is whole; damaged ones are passed over, with a
    warning on stderr. None: there is none.

    Raises:
        UserError: a whole checkpoint belongs to another run.
    """
    path, found, passed_over = _newest(folder, device)
    if passed_over:
        print(f"warning: {passed_over}", file=sys.stderr)
    if found is None:
        return None
    body, tensors = found
    if body["identity"] != identity:
        raise UserError(
            f"{path}: checkpoint of another run, or of other code or data (identity {body['identity'][:8]}, "
            f"expected {identity[:8]}); `lllm run` moves it aside and trains anew"
        )
    return int(body["step"]), unpack(body["state"], tensors)


def is_strange(folder: Path, identity: str) -> bool:
    """Whether the newest whole checkpoint is one that `load_resumable` would refuse."""
    _, found, _ = _newest(folder)
    return found is not None and found[0]["identity"] != identity


def damage(folder: Path) -> str:
    """What `load_resumable` would say of damaged checkpoints, '' where it passes over none."""
    return _newest(folder)[2]


def load_newest(folder: Path, identity: str, device: torch.device | str = "cpu") -> tuple[int, dict[str, Any]] | None:
    """(step, state) of the best weights there are, under 'model', with 'hooks' that may rebuild their structure: those
    that a finished run evaluated, else the newest checkpoint; errors as in `load_resumable`."""
    return load_resumable(folder / _FINAL, identity, device) or load_resumable(folder, identity, device)


def discard(folder: Path) -> None:
    """Delete what a run resumes from, once it has its result; the final weights stay."""
    for path in _steps(folder):
        shutil.rmtree(path, ignore_errors=True)


def _fill(scratch: Path, step: int, identity: str, state: Mapping[str, Any]) -> None:
    tensors: dict[str, Tensor] = {}
    skeleton = pack(state, tensors)
    try:
        save_file(tensors, scratch / _TENSORS)
    except SafetensorError as error:  # how it reports what the operating system refuses, a full disk above all
        raise _as_os_error(error) from None
    _sync(scratch / _TENSORS)
    body = {"step": step, "identity": identity, "digest": file_digest(scratch / _TENSORS), "state": skeleton}
    write_json(scratch / _SKELETON, {**body, "checksum": _checksum(body)})


def _as_os_error(error: SafetensorError) -> OSError:
    _, found, number = str(error).rstrip(")").rpartition("os error ")
    code = int(number) if found and number.isdigit() else 0
    return OSError(code, os.strerror(code) if code else str(error))


def _newest(
    folder: Path, device: torch.device | str | None = None
) -> tuple[Path, tuple[dict[str, Any], dict[str, Tensor]] | None, str]:
    """The newest whole checkpoint, its skeleton and tensors (None: there is none), and what to say of damaged ones
    after it. Without a device the tensors are verified and not loaded."""
    path, found, damaged = folder, None, list[Path]()
    for path in reversed(_steps(folder)):
        found = _read(path, device)
        if found is not None:
            break
        damaged.append(path)
    if not damaged:
        return path, found, ""
    left = f"no whole one is left in {folder}" if found is None else f"going on from step {int(path.name)}"
    return path, found, f"damaged checkpoint {', '.join(map(str, damaged))}; {left}"


def _read(path: Path, device: torch.device | str | None) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """None of a checkpoint that is damaged, or that its run deleted while it was read."""
    body = _skeleton(path)
    try:
        tensors = load_file(path / _TENSORS, device=str(device)) if body is not None and device is not None else {}
    except (OSError, ValueError, SafetensorError):
        return None
    return None if body is None else (body, tensors)


def _skeleton(path: Path) -> dict[str, Any] | None:
    """The verified skeleton of a checkpoint whose tensors have their digest, or None when it is damaged."""
    try:
        body: dict[str, Any] = json.loads((path / _SKELETON).read_text(encoding="utf-8"))
        checksum = body.pop("checksum")
        whole = checksum == _checksum(body) and file_digest(path / _TENSORS) == body["digest"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return body if whole else None


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
