"""Measured time: steps that fit into a budget of seconds, and what a plan expects to take."""

from __future__ import annotations

import statistics
import time

import torch

from lllm.launch.arms import Arm
from lllm.model.roles import named_roles
from lllm.train.contracts import Named
from lllm.train.gradients import Gradients
from lllm.train.setup import made
from lllm.train.world import World

__all__ = ["matmul_rate", "measured_steps", "step_seconds"]

_WARM, _TIMED = 3, 7
_EFFICIENCY = (
    0.45  # share of the matmul rate that a step of a small model reaches; for estimates only, which say 'about'
)


def step_seconds(arm: Arm, seed: int) -> float:
    """Median seconds of a training step on this machine, after warm-up, on the first batches of the run."""
    setup, device = arm.setup, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = setup.model(seed, str(device))
    batches = setup.batches(seed)
    optimizer = made(setup.resolved.parts["optimizer"])
    optimizer.attach([Named(name, p, role) for name, p, role in named_roles(model)])
    objective = made(setup.resolved.parts["objective"])
    micro = setup.resolved.run.micro_batch
    table = setup.bytes_per_token.to(device)
    gradients = Gradients(model, objective, World(device=device), table, seed=seed, micro=micro)
    times = []
    for step in range(_WARM + _TIMED):
        began = time.perf_counter()
        gradients(batches.at(step).to(device), step=step, progress=0.0, last={})
        optimizer.step(0.0)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[_WARM:])


def measured_steps(arm: Arm, seed: int) -> int:
    """Steps that fit into the arm's budget of seconds, by the measured median step."""
    return max(1, int(float(arm.resolved.budget.amount) / step_seconds(arm, seed)))


def matmul_rate() -> float:
    """FLOPs per second that a plan may expect of this machine: a quick matrix product times a usual efficiency."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 4096 if device == "cuda" else 384
    x = torch.randn(size, size, device=device)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        x @ x
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return _EFFICIENCY * 2 * size**3 / best
