"""python -m benchmarks.plants: what `lllm run` alone says of 29 kinds of planted cheats and of 8 legal unusual parts.

One experiment has a variant for each; it is run as a user would, and its table read. The control is the legal parts: a
probe that refuses everything would catch every cheat.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.plants import EXPERIMENT, LEGAL, PLANTS, Plant, files

__all__ = ["main"]

_STEPS = 12


def _named(plants: Mapping[str, Plant]) -> dict[str, Plant]:
    """Under names that a variant may have."""
    return {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"): plant for name, plant in plants.items()}


def main() -> int:
    """Print a line for each; exit code 1 where fewer than 25 kinds are caught, or a legal part is refused."""
    cheats, legal = _named(PLANTS), _named(LEGAL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "plants.yaml")
        path.write_text(_experiment({**cheats, **legal}), encoding="utf-8")
        plugins = [word for file in files() for word in ("--plugin", str(file.resolve()))]
        subprocess.run([sys.executable, "-m", "lllm", "run", str(path), *plugins], cwd=folder, stdout=sys.stderr)
        told = subprocess.run(
            [sys.executable, "-m", "lllm", "compare", str(path), *plugins, "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            check=True,
        )
        rows = {row["variant"]: row for row in json.loads(told.stdout)[0]["rows"] if not row["stale"]}
        caught = [_said(folder, name, plant, rows) for name, plant in cheats.items()]
        refused = [_said(folder, name, plant, rows) for name, plant in legal.items()]
    print(
        f"{sum(caught)} of {len(caught)} kinds of cheats caught, {sum(refused)} of {len(refused)} legal parts refused"
    )
    return 0 if sum(caught) >= 25 and not any(refused) else 1


def _said(folder: str, name: str, plant: Plant, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Print what was said of one; whether its row can be neither better nor worse for a reason that its fault gives."""
    verdict = str(rows[name]["verdict"]["text"])
    probes = [json.loads(file.read_text()) for file in Path(folder, "results", "plants", name).glob("*/s0/probe.json")]
    before = any("begin" in probe and not probe["begin"]["passed"] for probe in probes)
    text = next((one["blame"]["text"] for probe in probes for one in probe.values() if "blame" in one), verdict)
    seen = before or verdict.startswith(("not causal", "not comparable: other targets"))
    print(f"{'seen' if seen else 'passed':7}{name[:44]:46}{'before training: ' if before else ''}{text}")
    return seen


def _experiment(plants: Mapping[str, Plant]) -> str:
    """The experiment with a variant for each plant, under the settings under which it cheats."""
    lines = [f"  {name}: {json.dumps(dict(plant.overrides))}" for name, plant in plants.items()]
    text = EXPERIMENT.replace("budget: {steps: 12}", f"budget: {{steps: {_STEPS}}}")
    return text.replace("  local_ar: {}\n", "\n".join(["  local_ar: {}", *lines]) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
