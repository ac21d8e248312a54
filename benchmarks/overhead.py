"""What a run costs outside its steps: a whole command with one step and a small evaluation, from process start.

python -m benchmarks.overhead
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
WORDS = ["shakespeare", "budget={steps: 1}", "eval.bytes=2048", "samples=1", "sample_bytes=8"]


def command(folder: Path, *words: str) -> float:
    """Seconds of an lllm command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lllm", *words], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    runs, helps, steps = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command(folder, "data", "prepare", "shakespeare")
        for _ in range(ROUNDS):
            runs.append(command(folder, "run", *WORDS, "--force"))
            (result,) = folder.glob("results/*/*/*/s0/result.json")
            steps.append(json.loads(result.read_text())["seconds"])
            helps.append(command(folder, "--help"))
    print(f"a run outside its steps: {statistics.median(r - s for r, s in zip(runs, steps, strict=True)):.2f} s")
    print(f"lllm --help: {statistics.median(helps):.2f} s")


if __name__ == "__main__":
    main()
