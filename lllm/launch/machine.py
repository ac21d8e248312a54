"""What a run was made on: what its measured times depend on, and what is recorded of it, never hashed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy
import torch

from lllm import __version__
from lllm.config import Resolved
from lllm.train.world import device_of, numerics

__all__ = ["environment", "git_state", "machine", "machine_of_run", "threads_each", "threads_of"]


def machine(resolved: Resolved) -> dict[str, Any]:
    """What a measured time depends on beside what was measured: the device, and how a step is executed on it when the
    machine has nothing else to do."""
    run = resolved.run
    device = device_of(run.device)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(),
        "threads": run.threads or torch.get_num_threads(),
        "torch": torch.__version__,
        "compile": run.compile,
        "micro_batch": run.micro_batch,
    }


def machine_of_run(resolved: Resolved) -> dict[str, Any]:
    """`machine`, where the runs that are asked for share it."""
    return {**machine(resolved), "threads": threads_of(resolved)}


def threads_of(resolved: Resolved) -> int:
    run = resolved.run
    processes = run.workers * run.nproc
    return run.threads or (torch.get_num_threads() if processes == 1 else threads_each(processes))


def threads_each(processes: int) -> int:
    """Threads of each of so many processes on this machine."""
    return max(1, (os.cpu_count() or 1) // processes)


def _cpu() -> str:
    """The processor's name, as exactly as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    name = re.search(r"^model name\s*:(.*)$", text, re.MULTILINE)
    return name[1].strip() if name else platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Versions, devices and numerics of this process; those of the one that trains take their place in run.json."""
    return {
        "lllm": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        **numerics(),
    }


@lru_cache(maxsize=1)
def git_state() -> dict[str, Any] | None:
    """Commit of the working directory and whether it has changes; None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
