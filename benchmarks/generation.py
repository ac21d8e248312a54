"""Bytes per second of generation at batch 1, equal parameters, every model cached; in turn, medians, one run.

python -m benchmarks.generation
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.models import equal_models
from lllm.model import LatentModel
from lllm.model.accounting import parameters
from lllm.model.generate import generate
from lllm.registry import load_registry

WIDTH, DEPTH, BYTES, ROUNDS = 128, 6, 256, 7


def seconds(model: LatentModel, count: int) -> float:
    began = time.perf_counter()
    for _ in generate(model, [list(b"def ")], count):
        pass
    return time.perf_counter() - began


def main() -> None:
    heads = {"flat": (1, {"use": "parallel", "hidden": 1}), "parallel": (4, "parallel"), "local_ar": (4, "local_ar")}
    models = equal_models(load_registry(), heads, width=WIDTH, depth=DEPTH)
    for model in models.values():
        seconds(model, 16)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            times[name].append(seconds(model, BYTES))
    flat = statistics.median(times["flat"])
    print(f"threads {torch.get_num_threads()}, width {WIDTH}, depth {DEPTH}, {BYTES} bytes, median of {ROUNDS}")
    for name, model in models.items():
        median = statistics.median(times[name])
        rate, ratio = BYTES / median, flat / median
        print(f"{name:10s} {parameters(model):>10,} parameters {rate:>8.0f} bytes/s {ratio:>6.2f}x flat")


if __name__ == "__main__":
    main()
