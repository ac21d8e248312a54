"""Where a run was made: recorded, never hashed."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from typing import Any

__all__ = ["environment", "git_state"]


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Versions, devices and numerics of this process; those of the one that trains take their place in run.json."""
    import numpy
    import torch

    from lllm import __version__
    from lllm.train.world import numerics

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
