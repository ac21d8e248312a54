"""python -m benchmarks.probe [VARIANT...]: what the two probes of a run cost, in steps of that run, and in seconds.

Both are measured by the run itself, in one process: probe.json says what each probe took, result.json what the steps
did. The optimizer is AdamW, whose step is the cheapest, and so the strictest measure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["main"]

_WORDS = ["corpus={use: text, path: tinyshakespeare, document: 16KB}", "budget={steps: 60}", "run.samples=0"]
_WORDS += ["train.optimizer=adamw"]
_REACH = "8 steps + 0.5 s"


def main(variants: list[str]) -> int:
    """Print a line for each variant; exit code 1 where one is beyond the reach."""
    fine = True
    print(f"{'variant':16}{'step':>10}{'before':>10}{'after':>10}{'both':>16}{'reach':>20}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lllm", "run", "quickstart", *variants, *_WORDS]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for file in sorted(Path(folder, "results", "quickstart").glob("*/*/s0/probe.json")):
            probes, result = (json.loads(file.with_name(name).read_text()) for name in ("probe.json", "result.json"))
            step = result["seconds"] / result["steps"]
            before, after = (probes[when]["seconds"] for when in ("begin", "end"))
            both, reach = before + after, 8 * step + 0.5
            fine &= both <= reach
            steps = max(0.0, both - 0.5) / step
            print(
                f"{file.parts[-4]:16}{step:9.4f}s{before:9.3f}s{after:9.3f}s{both:7.3f}s ={steps:5.1f}+"
                f"{_REACH if both <= reach else 'beyond ' + _REACH:>20}"
            )
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or ["flat", "parallel", "local_ar"]))
