"""Seconds to list and to compare 10,000 run directories, in a fresh process each: cold, then warm; medians.

python -m benchmarks.compare_10000
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VARIANTS, ARMS, SEEDS, ROUNDS = 5, 400, 5, 7

COMPARE = """
import sys; from pathlib import Path
from lllm.results.compare import Expected, compare
from lllm.results.table import text
rows = [Expected(f"v{i}", sys.argv[2 + i], i == 0) for i in range(len(sys.argv) - 2)]
table = compare(Path(sys.argv[1]), "big", rows, all_runs=%s)
print(text(table))
"""
LIST = "import sys; from pathlib import Path; from lllm.cli.runs import list_runs; list_runs(root=Path(sys.argv[1]))"


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def info(variant: str, arm: str, number: int, seed: int) -> dict[str, Any]:
    """A run.json of ordinary size: 9 parts of 4 options, 12 training options."""
    model = {f"kind{i}": {"use": f"name{i}", "hidden": 128, "rate": 0.5, "bias": False} for i in range(9)}
    train = {"lr": number / 1000, **{f"option{i}": i / 7 for i in range(11)}}
    parts = {
        f"kind{i}/name{i}": {"path": f"/registry/{i}.py", "digest": digest(str(i)), "version": 1} for i in range(14)
    }
    return {
        "experiment": "big",
        "variant": variant,
        "baseline": variant == "v0",
        "name": None,
        "arm": arm,
        "seed": seed,
        "config": {"semantic": {"model": model, "train": train}, "execution": {"device": "cpu"}},
        "fingerprints": {"arm": arm, "code": digest("code"), "data": digest("data"), "evaluator": digest("evaluator")},
        "parts": parts,
        "steps": 500,
        "budget": {"steps": 500},
        "sizes": {"parameters": 1_310_000, "train_flops_per_byte": 12.3e6, "bytes_per_step": 4096},
    }


def result(number: int, seed: int) -> dict[str, Any]:
    bpb = 2.4 + number / 1000 + seed / 200
    return {
        "bpb": bpb,
        "bpb_text": bpb,
        "nats_per_byte": bpb * 0.69,
        "kind": "exact",
        "likelihood": "exact",
        "likelihoods": {"exact": {"kind": "exact", "bpb": bpb, "primary": True}},
        "parameters": 1_310_000,
        "train_flops_per_byte": 12.3e6,
        "train_flops": 2.5e13,
        "train_bytes": 2_048_000,
        "seconds": 45.1,
        "bytes_per_second": 45_100.0,
        "generation_bytes_per_second": 812.0,
        "shared_timing": False,
        "slots": [1.91, 2.53, 2.81, 2.92],
        "positions": {str(2**i): 1.234567 for i in range(10)},
        "documents": 100,
        "untuned": True,
    }


def make(root: Path) -> list[str]:
    """Write the directories; returns the arms that the experiment defines, one per variant."""
    for variant in (f"v{i}" for i in range(VARIANTS)):
        for number in range(ARMS):
            arm = digest(f"{variant}.{number}")
            for seed in range(SEEDS):
                path = root / "big" / variant / arm[:8] / f"s{seed}"
                path.mkdir(parents=True)
                (path / "run.json").write_text(json.dumps(info(variant, arm, number, seed), indent=1))
                (path / "result.json").write_text(json.dumps(result(number, seed), indent=1))
    return [digest(f"v{i}.0") for i in range(VARIANTS)]


def seconds(code: str, *arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        arms = make(Path(folder))
        commands = {
            "compare": (COMPARE % False, folder, *arms),
            "compare --all": (COMPARE % True, folder, *arms),
            "list runs": (LIST, folder),
            "an empty process": ("pass",),
        }
        print(f"{VARIANTS * ARMS * SEEDS} run directories; cold compare {seconds(*commands['compare']):.2f} s")
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(seconds(*command))
        for name, taken in times.items():
            print(f"{name:18s} {statistics.median(taken):>6.2f} s warm, median of {ROUNDS}")


if __name__ == "__main__":
    main()
