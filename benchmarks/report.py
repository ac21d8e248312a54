"""Seconds to write the report of 30 trained runs, in a fresh process each time, and the size of the page.

python -m benchmarks.report
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIANTS, SEEDS, ROUNDS = 10, 3, 5

EXPERIMENT = f"""\
hypothesis: A wider layer predicts better at equal bytes.
corpus: {{use: text, path: tinyshakespeare, document: 16KB}}
data: {{context: 64}}
model: {{ratio: 4, width: 16, trunk: {{depth: 1}}}}
train: {{batch: 4}}
eval: {{bytes: 8KB}}
run: {{log_every: 2, eval_every: 20, sample_bytes: 40}}
variants:
{chr(10).join(f"  v{i}: {{model.ffn.hidden: {8 + 8 * i}}}" for i in range(VARIANTS))}
baseline: v0
seeds: {list(range(SEEDS))}
budget: {{steps: 200}}
"""


def lllm(folder: Path, *words: str) -> float:
    """Seconds of a command."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lllm", *words], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "experiments").mkdir()
        (folder / "experiments" / "wide.yaml").write_text(EXPERIMENT)
        print(f"{VARIANTS * SEEDS} runs trained in {lllm(folder, 'run', 'wide'):.0f} s")
        taken = [lllm(folder, "report", "wide") for _ in range(ROUNDS)]
        size = (folder / "results" / "wide" / "report.html").stat().st_size
        print(f"report: {statistics.median(taken):.2f} s, median of {ROUNDS}; {size / 1e6:.2f} MB")
        print(f"index:  {lllm(folder, 'report'):.2f} s")


if __name__ == "__main__":
    main()
