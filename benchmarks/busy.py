"""What OpenMP's spinning costs: local_ar of the quickstart, trained as by default and as lllm does, alone and beside
two busy processes. Medians of alternating pairs; it prints ratios and asserts nothing.

python -m benchmarks.busy [ROUNDS [STEPS]]

Reach: with lllm's setting at most 3.5 times as slow beside them as alone, and alone within 3% of the default.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROUNDS, STEPS, BUSY = 5, 40, 2
ROOT = Path(__file__).parents[1]
GIVEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
TRAIN = """
import json, sys, time
if {ours}:
    from lllm.openmp import spin
    spin()
from lllm.config import Tree, load_experiment
from lllm.launch.arms import Arms
from lllm.launch.measure import WARM, Stepper
from lllm.openmp import variables
from lllm.registry import load_registry
arm = Arms(load_experiment("quickstart"), Tree(), load_registry()).arm("local_ar")
stepper = Stepper(arm, 0)
for _ in range(WARM):
    stepper()
began = time.perf_counter()
for _ in range({steps}):
    stepper()
print(json.dumps([{steps} * arm.bytes_per_step / (time.perf_counter() - began), variables()]))
"""


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Beside so many processes that each keep a core busy; it begins when the load average, which takes a minute, has
    seen them."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        for _ in range(60):
            if os.getloadavg()[0] >= count - 0.4:
                break
            time.sleep(1)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def speed(ours: bool, steps: int) -> tuple[float, dict[str, str]]:
    """Bytes per second of a fresh process, and what it set."""
    environment = {name: value for name, value in os.environ.items() if name not in (*GIVEN, "OMP_NUM_THREADS")}
    command = [sys.executable, "-c", TRAIN.format(ours=ours, steps=steps)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
    found, variables = json.loads(done.stdout.splitlines()[-1])
    return float(found), dict(variables)


def main(rounds: int = ROUNDS, steps: int = STEPS) -> None:
    medians: dict[tuple[int, bool], float] = {}
    for beside in (0, BUSY):
        found: dict[bool, list[float]] = {False: [], True: []}
        with busy(beside):
            for turn in range(rounds):
                for ours in (False, True) if turn % 2 == 0 else (True, False):
                    rate, variables = speed(ours, steps)
                    found[ours].append(rate)
                    name = "lllm" if ours else "default"
                    print(f"beside {beside}, {name} {variables}: {rate / 1e3:.1f} kB/s", flush=True)
        for ours, rates in found.items():
            medians[beside, ours] = statistics.median(rates)
    print(f"median of {rounds}, {steps} steps each, {os.cpu_count()} cores, beside {BUSY} busy processes:")
    for ours in (False, True):
        alone, slow = medians[0, ours], medians[BUSY, ours]
        name = "lllm" if ours else "default"
        print(f"{name:8s} alone {alone / 1e3:6.1f} kB/s, beside {slow / 1e3:6.1f} kB/s: {alone / slow:.2f}x as slow")
    print(f"alone, lllm over default: {medians[0, True] / medians[0, False]:.3f}x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
