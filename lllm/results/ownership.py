"""Two processes never own the same run.

On one machine an OS lock decides; the death of its holder frees it at once. Across machines that share the folder, and
whose file system may not carry locks, status.json decides: its owner rewrites it every 5 s, and after 60 s without that
it counts as dead. The first claim of a run creates status.json exclusively. One that takes over from another machine
waits a moment and looks whether it was overtaken; an owner that slept through its heartbeat learns of it in `check`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.files import explained, found_object, write_json
from lllm.results.state import BEAT, STALE_AFTER, State, identity, same_machine, same_process

__all__ = ["Owned", "Ownership", "own"]

SETTLE = 2.0  # seconds to wait before believing that no third machine took over at the same moment


class Owned(Exception):
    """Another live process owns the run. `pid` and `host` are None when it has not yet said who it is."""

    def __init__(self, path: Path, status: Mapping[str, Any]) -> None:
        self.path, self.pid, self.host = path, status.get("pid"), status.get("host")
        who = f"process {self.pid} on {self.host}" if self.pid is not None else "another process"
        super().__init__(f"{path}: {who} is training this run; wait for it, or stop it first")


class Ownership:
    """What `own` yields: a heartbeat, a way to end in a state, and the news that the run was lost."""

    def __init__(self, path: Path) -> None:
        self._path = path / "status.json"
        self._last = time.time()
        self._lost: Mapping[str, Any] | None = None
        self._ended = threading.Event()
        self._mutex = threading.Lock()
        self._thread = threading.Thread(target=self._beat_until_ended, name="heartbeat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise Owned if another machine took the run over, as happens when this one slept. Cheap: call every step."""
        if time.time() - self._last > STALE_AFTER:
            self._beat()
        if self._lost is not None:
            raise Owned(self._path.parent, self._lost)

    def end(self, state: State, **fields: Any) -> None:
        """Stop the heartbeat and leave `state` ('failed' with a reason, 'pruned' with a rule, 'interrupted')."""
        with self._mutex:
            self._ended.set()
            if self._lost is None:
                write_json(self._path, {"state": state, **fields})

    def _close(self) -> None:
        """Leave the truth behind: nothing after a result, 'interrupted' otherwise, unless `end` said more."""
        with self._mutex:
            already = self._ended.is_set()
            self._ended.set()
        self._thread.join()
        if already or self._lost is not None:
            return
        if (self._path.parent / "result.json").is_file():
            self._path.unlink(missing_ok=True)
            return
        with suppress(UserError):  # a full disk: the heartbeat that stops says the same, and the first error is kept
            write_json(self._path, {"state": "interrupted"})

    def _beat_until_ended(self) -> None:
        while not self._ended.wait(BEAT):
            self._beat()

    def _beat(self) -> None:
        with self._mutex:
            if self._ended.is_set() or self._lost is not None:
                return
            status = found_object(self._path)
            if status and not same_process(status):
                self._lost = status
                return
            with suppress(UserError):  # a disk that is full now may have room at the next beat
                write_json(self._path, _running())
                self._last = time.time()


@contextmanager
def own(path: Path) -> Iterator[Ownership]:
    """Own the run directory `path` (made if absent) for the length of the block.

    Raises:
        Owned: another live process owns it.
        UserError: the directory cannot be written.
    """
    from filelock import FileLock, Timeout

    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock", timeout=0)
    with explained(path / ".lock"):
        try:
            lock.acquire()
        except Timeout:
            raise Owned(path, found_object(path / "status.json") or {}) from None
    try:
        _claim(path)
        ownership = Ownership(path)
        try:
            yield ownership
        finally:
            ownership._close()
    finally:
        lock.release()


def _claim(path: Path) -> None:
    """Write 'running' over whatever a dead owner left, the OS lock of this machine being held."""
    file = path / "status.json"
    before = _create(file)
    if before is not None:
        elsewhere = before.get("state", "running") == "running" and not same_machine(before)
        if elsewhere and _age(path, file) < STALE_AFTER:
            raise Owned(path, before)
        write_json(file, _running())
        if elsewhere:
            time.sleep(SETTLE)
            after = found_object(file) or {}
            if not same_process(after):
                raise Owned(path, after)
    for scratch in path.glob(".*.tmp"):  # left by a process killed while it wrote
        scratch.unlink(missing_ok=True)


def _create(file: Path) -> Mapping[str, Any] | None:
    """Create `file` as ours and return None, or return the status that is there ({}: damaged)."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    write_json(scratch, _running())
    with explained(file):
        try:
            os.link(scratch, file)  # fails if the name is taken, and is never seen half written
        except FileExistsError:
            return found_object(file) or {}
        except OSError:  # a file system without hard links
            if file.exists():
                return found_object(file) or {}
            os.replace(scratch, file)
        finally:
            scratch.unlink(missing_ok=True)
    return None


def _age(path: Path, file: Path) -> float:
    """Seconds since `file` was written by the clock of the file server: those of two machines may disagree."""
    with explained(path / ".lock"):
        os.utime(path / ".lock")
        return (path / ".lock").stat().st_mtime - file.stat().st_mtime


def _running() -> dict[str, Any]:
    return {"state": "running", **identity(), "heartbeat": time.time()}
