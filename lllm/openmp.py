"""How long a thread of GNU OpenMP spins at a barrier before it sleeps.

By default it spins for milliseconds, on a core that another process may need to reach the same barrier: beside two busy
processes on two cores training ran at 7 of 37 kB/s. Spinning 2000 turns costs nothing where the machine is idle (39,
and 13 beside them), 200 turns less where it is not (23 and 20). No number that is computed depends on it.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["spin", "variables"]

_SPIN = "GOMP_SPINCOUNT"
_NAMES = (_SPIN, "OMP_WAIT_POLICY")
_GIVEN = any(name in os.environ for name in _NAMES)  # by whoever started this process; `spin` changes nothing then
_LOADAVG = Path("/proc/loadavg")


def spin(threads: int | None = None) -> None:
    """Set how the processes that start from here spin, and this one if torch is not loaded yet. threads: how many are
    about to start (None: as many as OpenMP makes by itself)."""
    cores = os.cpu_count() or 1
    if not _GIVEN:
        os.environ[_SPIN] = "200" if (threads or _threads(cores)) + _busy() > cores else "2000"


def variables() -> dict[str, str]:
    """The variables as they are set now, for the record."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ}


def _threads(cores: int) -> int:
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdigit() else cores


def _busy() -> int:
    """Threads that keep cores busy beside this one: the load average, which also remembers what has ended by now, so at
    most as many as can run at this moment where the system tells."""
    if not hasattr(os, "getloadavg"):
        return 0
    load = round(os.getloadavg()[0])
    try:
        running = int(_LOADAVG.read_text(encoding="ascii").split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return load
    return min(load, running)
