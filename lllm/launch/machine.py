"""What a measured time depends on beside what was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from lllm.config import Resolved

__all__ = ["machine", "machine_of_run", "threads_each", "threads_of"]


def machine(resolved: Resolved) -> dict[str, Any]:
    """What a measured time depends on beside what was measured: the device, and how a step is executed on it when the
    machine has nothing else to do."""
    import torch

    from lllm.train.world import device_of

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
    """Threads of each process of a run."""
    import torch

    run = resolved.run
    processes = run.workers * run.nproc
    return run.threads or (torch.get_num_threads() if processes == 1 else threads_each(processes))


def threads_each(processes: int) -> int:
    """Threads of each of so many processes on this machine."""
    return max(1, (os.cpu_count() or 1) // processes)


def _cpu() -> str:
    """The processor's name, as exactly as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
