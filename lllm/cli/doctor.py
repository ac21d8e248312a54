"""`lllm doctor`: what is installed and what will run where."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from lllm.cli.output import print_json, print_table

__all__ = ["doctor"]

PACKAGES = ("lllm", "torch", "numpy", "pydantic", "typer", "rich", "safetensors", "scipy", "wandb", "triton")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is installed, which devices there are, and which parts cannot be loaded."""
    import torch

    from lllm.registry import load_registry

    registry = load_registry()
    facts = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "attention kernel": "torch SDPA (flash where CUDA offers it)",
        **{name: _version(name) for name in PACKAGES},
        "parts": str(len(registry.entries)),
        "parts that failed": "; ".join(f"{p}: {why}" for p, why in registry.failures.items()) or "none",
    }
    if as_json:
        print_json(facts)
    else:
        print_table(["what", "found"], [[key, value] for key, value in facts.items()])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
