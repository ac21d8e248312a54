"""`lllm doctor`: what is installed, what will run where, and what stands in the way."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lllm.cli.options import Json, Plugins, Results
from lllm.cli.output import print_json, print_table
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.registry import Registry

__all__ = ["doctor"]

_PACKAGES = ("lllm", "torch", "numpy", "pydantic", "typer", "rich", "safetensors", "scipy")
_OPTIONAL = ("triton", "flash-linear-attention", "flash-attn", "wandb")  # with them more is possible or faster


def doctor(plugin: Plugins = None, results: Results = Path("results"), as_json: Json = False) -> None:
    """Say what is installed, which devices and kernels there are, where things are found, and what is amiss."""
    from lllm.registry import load_registry

    registry = load_registry(plugin or [])
    facts = {
        "machine": _machine(),
        "packages": {name: _version(name) for name in (*_PACKAGES, *_OPTIONAL)},
        "kernels": _kernels(registry),
        "places": _places(registry, results),
        "problems": _problems(registry, results),
    }
    if as_json:
        print_json(facts)
        return
    for title, found in facts.items():
        if isinstance(found, dict):
            print_table([title, ""], [[key, str(value)] for key, value in found.items()])
        elif found:
            print_table([title], [[problem] for problem in found])
        else:
            print(f"{title}: none")
        print()


def _machine() -> dict[str, Any]:
    import psutil
    import torch

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "torch threads": torch.get_num_threads(),
        "cuda": ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none",
        "bfloat16": "yes" if cuda and torch.cuda.is_bf16_supported() else "no: training uses it on CUDA only",
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _kernels(registry: Registry) -> dict[str, str]:
    """Which kernel each part that has a choice will use here."""
    import torch

    from lllm.cli.description import kernel

    found = {"torch SDPA": "flash where shapes allow" if torch.cuda.is_available() else "torch's own for CPU"}
    for entry in registry.of(registry.kinds()):
        if named := kernel(entry):
            found[f"{entry.kind}/{entry.name}"] = named
    return found


def _places(registry: Registry, results: Path) -> dict[str, Any]:
    import shutil
    from collections import Counter

    from lllm.config import list_experiments
    from lllm.data.dataset import data_root
    from lllm.registry.discovery import shipped

    counts = Counter(entry.source for entry in registry.entries.values())
    sources = Counter(listed.source for listed in list_experiments())
    free = shutil.disk_usage(Path.cwd()).free
    return {
        "parts": ", ".join(f"{count} {source}" for source, count in counts.items()),
        "experiments": ", ".join(f"{count} {source}" for source, count in sources.items()),
        **{f"{folder}, shipped": shipped(folder) for folder in ("registry", "experiments")},
        "results": results.resolve(),
        "data": data_root().resolve(),
        "disk free": f"{free / 1e9:.1f} GB",
    }


def _problems(registry: Registry, results: Path) -> list[str]:
    """What a user should know before it costs time."""
    from lllm.config import list_experiments
    from lllm.data.dataset import data_root
    from lllm.results.index import index
    from lllm.results.ledger import FILE, damaged_lines
    from lllm.results.probed import FILE as PROBE
    from lllm.results.probed import damaged_probe
    from lllm.results.run import check_writable

    found = [f"{path}: gives no part: {why}" for path, why in registry.failures.items()]
    for entries in registry.conflicts.values():
        places = " and ".join(str(entry.path) for entry in entries)
        found.append(f"{entries[0].kind} '{entries[0].name}' is registered with different content in {places}")
    found += [listed.problem for listed in list_experiments() if listed.problem]
    for place in (results, data_root()):
        try:
            check_writable(place)
        except UserError as error:
            found.append(str(error))
    runs = [record for record in index(results) if not record.aside]
    damaged = [run for run in runs if run.state == "damaged"]
    found += [f"{run.path}: {run.reason}; expected it trained anew, by the same command" for run in damaged]
    damaged = [run for run in runs if run.state != "running" and run.path and damaged_probe(run.path)]
    found += [f"{run.path}: {PROBE} is damaged; expected it made anew, by `lllm probe {run.name}`" for run in damaged]
    found += [
        f"{results / FILE}, line {number}: damaged; only its directory tells of the run that it named"
        for number in damaged_lines(results)
    ]
    return found
