"""Seconds to list and to compare 10,000 run directories, in a fresh process each: cold, then warm; medians.

python -m benchmarks.compare_10000
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lllm.launch.now import expected_rows
from lllm.results.compare import Expected
from lllm.results.index import CACHE

ARMS, SEEDS, ROUNDS = 400, 5, 7
EXPERIMENT = """
hypothesis: Ten thousand runs are read in the time of a breath.
corpus: {use: text, path: tinyshakespeare, document: 16KB}
variants:
  v0: {}
  v1: {train.lr: 0.01}
  v2: {model.ratio: 2}
  v3: {model.head: parallel}
  v4: {model.trunk.depth: 2}
seeds: [0, 1, 2, 3, 4]
match: {params: 10%}
budget: {bytes: 1MB}
"""

TABLE = """
import sys; from pathlib import Path
from lllm.results.compare import Expected, compare
from lllm.results.table import text
rows = [Expected(f"v{i}", sys.argv[1 + i], i == 0) for i in range(len(sys.argv) - 1)]
print(text(compare(Path("results"), "big", rows)))
"""
COMMAND = "from lllm.cli import main; main()"


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def info(expected: Expected, arm: str, number: int, seed: int) -> dict[str, Any]:
    """A run.json of ordinary size: 9 parts of 4 options, 12 training options."""
    model = {f"kind{i}": {"use": f"name{i}", "hidden": 128, "rate": 0.5, "bias": False} for i in range(9)}
    train = {"lr": number / 1000, **{f"option{i}": i / 7 for i in range(11)}}
    parts = {
        f"kind{i}/name{i}": {"path": f"/registry/{i}.py", "digest": digest(str(i)), "version": 1} for i in range(14)
    }
    return {
        "experiment": "big",
        "variant": expected.variant,
        "baseline": expected.baseline,
        "name": None,
        "arm": arm,
        "seed": seed,
        "config": {"semantic": {"model": model, "train": train}, "execution": {"device": "cpu"}},
        "fingerprints": {"arm": arm, **expected.fingerprints},
        "parts": parts,
        "steps": 500,
        "budget": {"steps": 500},
        "sizes": {"parameters": 1_310_000, "train_flops_per_byte": 12.3e6, "bytes_per_step": 4096},
        "rule": expected.rule.written(),
        "planned": list(range(SEEDS)),
        "machine": {"device": "CPU", "threads": 2, "torch": "2.13.0", "compile": False, "micro_batch": None},
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


def make(rows: Sequence[Expected]) -> None:
    """Write the directories: of each variant one arm that the experiment defines, and 399 others."""
    for expected in rows:
        for number in range(ARMS):
            arm = expected.arm if number == 0 else digest(f"{expected.variant}.{number}")
            for seed in range(SEEDS):
                path = Path("results", "big", expected.variant, arm[:8], f"s{seed}")
                path.mkdir(parents=True)
                (path / "run.json").write_text(json.dumps(info(expected, arm, number, seed), indent=1))
                (path / "result.json").write_text(json.dumps(result(number, seed), indent=1))
                (path / "probe.json").write_text(json.dumps({"end": {"passed": True, "largest": 4e-6, "covered": 256}}))


def seconds(code: str, *arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("experiments").mkdir()
        Path("experiments/big.yaml").write_text(EXPERIMENT)
        rows = expected_rows("big")
        make(rows)
        commands = {
            "lllm compare big": (COMMAND, "compare", "big"),
            "lllm compare big --all": (COMMAND, "compare", "big", "--all"),
            "lllm list runs": (COMMAND, "list", "runs"),
            "the table alone": (TABLE, *(row.arm for row in rows)),
            "an empty process": ("pass",),
        }
        print(f"{len(rows) * ARMS * SEEDS} run directories")
        cold = []
        for _ in range(3):
            Path("results", CACHE).unlink(missing_ok=True)
            cold.append(seconds(*commands["lllm compare big"]))
        print(f"{'lllm compare big':24s} {statistics.median(cold):>6.2f} s without its index, median of {len(cold)}")
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                times[name].append(seconds(*command))
        for name, taken in times.items():
            print(f"{name:24s} {statistics.median(taken):>6.2f} s warm, median of {ROUNDS}")


if __name__ == "__main__":
    main()
