"""In what state a run is, and whether the process that says it is at work still lives."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

__all__ = ["ASIDE", "BEAT", "STALE_AFTER", "State", "identity", "is_alive", "same_machine", "same_process", "state_of"]

# diverged is an outcome, failed is not: an error of the user, a part or the machine; damaged: run.json or result.json
# cannot be read; deleted: begun, and gone
State = Literal["finished", "running", "interrupted", "failed", "diverged", "pruned", "empty", "damaged", "deleted"]

ASIDE = "set_aside"  # in status.json of a run that was moved aside: why
BEAT = 5.0  # seconds between two heartbeats
STALE_AFTER = 60.0  # seconds without one after which the owner on another machine counts as dead


def identity() -> dict[str, Any]:
    """This process, told apart from any other: pids are used again and hosts share names; a boot of a kernel is one."""
    return _identity(os.getpid())


@cache
def _identity(pid: int) -> dict[str, Any]:
    import psutil

    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        machine = f"{uuid.getnode():x}"
    started = psutil.Process(pid).create_time()
    return {"pid": pid, "host": socket.gethostname(), "machine": machine, "started": started}


def same_machine(status: Mapping[str, Any]) -> bool:
    """Whether `status` was written under this kernel, where an OS lock decides who owns a run."""
    mine = identity()
    return bool(status.get("machine", mine["machine"]) == mine["machine"] and status.get("host") == mine["host"])


def same_process(status: Mapping[str, Any]) -> bool:
    """Whether this process wrote `status`."""
    return all(status.get(key) == value for key, value in identity().items())


def is_alive(status: Mapping[str, Any], age: float) -> bool:
    """Whether the owner named by a 'running' status lives; `age` is the seconds since the status was written."""
    if not same_machine(status):
        return age < STALE_AFTER
    import psutil

    try:
        started = psutil.Process(int(status["pid"])).create_time()
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
    return abs(started - float(status.get("started", started))) < 1.0


def state_of(finished: bool, status: Mapping[str, Any] | None, age: float) -> State:
    """The state of a run, finished or not, whose status.json (None: absent) was written `age` seconds ago."""
    if finished:
        return "finished"
    if status is None:
        return "empty"
    match status.get("state"):
        case "running":
            return "running" if is_alive(status, age) else "interrupted"
        case "failed" | "diverged" | "pruned" as ended:
            return cast(State, ended)
        case _:
            return "interrupted"
