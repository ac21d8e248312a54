"""Files that are whole or absent: JSON written atomically, and the append-only metrics of a run."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from lllm.errors import UserError

__all__ = [
    "WALL_FIELDS",
    "Metrics",
    "dumps",
    "explained",
    "file_digest",
    "found_object",
    "parse_lines",
    "read_json",
    "read_metrics",
    "read_object",
    "write_bytes",
    "write_changed",
    "write_json",
]

WALL_FIELDS = ("seconds", "bytes_per_second", "memory")  # fields of metrics.jsonl that no two runs share

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError of writing `path` into a UserError that says what stands in the way."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            why = "the disk is full; free some space and give the same command again, it continues where it was"
        elif error.errno in _DENIED:
            why = f"cannot be written ({error.strerror}); expected a directory that you may write to"
        else:
            why = f"cannot be written ({error.strerror or error})"
        raise UserError(f"{path}: {why}") from error


def dumps(value: Any, indent: int | None = None) -> str:
    """Strict JSON: a float that is not finite becomes null, because other readers refuse NaN."""
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, indent=indent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whose readers see the old content or the new, never a part, not even after a power cut.

    Raises:
        UserError: the disk is full, or the directory cannot be written; the old content stays.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")  # not mkstemp: its files are private
    with explained(path):
        try:
            with scratch.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            with suppress(OSError):
                scratch.unlink()
            raise
        _sync_directory(path.parent)


def write_changed(path: Path, data: bytes) -> None:
    """`write_bytes`, unless the file has just that."""
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically; errors as in `write_bytes`."""
    write_bytes(path, (dumps(value, indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON in `path`.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); the file is damaged") from None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; errors as in `read_json`, and where it is none."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object; the file is damaged")
    return content


def found_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, None where there is none: no file, or a damaged one."""
    try:
        return read_object(path)
    except UserError:
        return None


def file_digest(path: Path) -> str:
    """blake2b-128 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class Metrics:
    """metrics.jsonl, open for appending. Opening drops a line that a killed process left unfinished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._drop_torn_line()

    @property
    def size(self) -> int:
        """Bytes so far, all of them on disk: a checkpoint that records it never points past the file's end."""
        with explained(self.path):
            os.fsync(self._descriptor)
            return os.fstat(self._descriptor).st_size

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line. When it does not fit on the disk nothing of it stays, and a UserError says so."""
        line = memoryview((dumps(record) + "\n").encode())
        before = os.fstat(self._descriptor).st_size
        with explained(self.path):
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                os.ftruncate(self._descriptor, before)
                raise

    def truncate(self, size: int) -> None:
        """Cut back to the `size` that a checkpoint recorded.

        Raises:
            UserError: the file is shorter than that, so that lines before the checkpoint are lost.
        """
        found = os.fstat(self._descriptor).st_size
        if size > found:
            raise UserError(
                f"{self.path}: {found} bytes, but the checkpoint was written at {size}; "
                "lines are missing, so the run cannot continue exactly; expected --force to train it anew"
            )
        with explained(self.path):
            os.ftruncate(self._descriptor, size)
            self._drop_torn_line()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _drop_torn_line(self) -> None:
        """Cut back to the end of the last whole line."""
        if os.fstat(self._descriptor).st_size:
            with mmap(self._descriptor, 0, access=ACCESS_READ) as lines:
                end = lines.rfind(b"\n") + 1
            os.ftruncate(self._descriptor, end)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every whole line of metrics.jsonl; one that a killed process left unfinished is left out. No file: no lines.

    Raises:
        UserError: a line before the last is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_lines(path, data[: data.rfind(b"\n") + 1])


def parse_lines(path: Path, data: bytes) -> list[dict[str, Any]]:
    """The objects of JSON lines; a UserError names `path` and the line that is none."""
    records = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}: not a JSON object; the file is damaged")
        records.append(record)
    return records


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power cut, where a directory can be opened and synced."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
