"""Measured time and memory: the steps that a budget of seconds has room for, what a plan expects, what `lllm bench`
compares."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lllm.errors import UserError
from lllm.launch.arm import Arm
from lllm.model.generate import generate
from lllm.model.roles import named_roles
from lllm.registry.build import blaming
from lllm.train.contracts import Named
from lllm.train.gradients import Gradients
from lllm.train.world import World, device_of

__all__ = ["WARM", "Bench", "matmul_rate", "measured_steps", "pairs", "peak_bytes", "seconds_of", "with_threads"]

WARM, _TIMED = 3, 7
_EFFICIENCY = 0.45  # share of the matmul rate that a step of a small model reaches; for estimates, which say 'about'
_GENERATED = 128  # tokens of one measurement of generation


class Stepper:
    """Training steps of an arm at learning rate 0, on the batches of a run, executed as its settings say."""

    def __init__(self, arm: Arm, seed: int) -> None:
        setup, self.device = arm.setup, device_of(arm.resolved.run.device)
        self.model = setup.model(seed, str(self.device))
        self.batches = setup.batches(seed)
        build = setup.resolved.build()
        self.optimizer = build.part("optimizer")
        self.optimizer.attach([Named(name, p, role) for name, p, role in named_roles(self.model)])
        self.bfloat16 = setup.resolved.train.precision == "bfloat16"
        self.gradients = Gradients(
            self.model,
            build.part("objective"),
            World(device=self.device),
            setup.bytes_per_token.to(self.device),
            seed=seed,
            micro=setup.resolved.run.micro_batch,
            autocast=self.autocast,
            forward=torch.compile(self.model) if setup.resolved.run.compile else self.model,
        )
        self.step = 0

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bfloat16 else nullcontext()

    def __call__(self) -> None:
        batch = self.batches.at(self.step).to(self.device)
        self.gradients(batch, step=self.step, progress=0.5, last={})  # the middle of a run speaks for all of it
        self.optimizer.step(0.0)
        self.step += 1

    def seconds(self) -> float:
        began = time.perf_counter()
        self()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


@dataclass
class Bench:
    """One arm's measurements. steps: seconds of each; generation: bytes per second of each; memory: peak bytes."""

    arm: Arm
    steps: list[float] = field(default_factory=list)
    generation: list[float] = field(default_factory=list)
    memory: int = 0

    def warm(self) -> None:
        """Build the model, warm it up, and see what a step needs.

        Raises:
            UserError: a part raises in it, or the device has not enough memory.
        """
        with _blaming(self.arm):
            self._stepper = Stepper(self.arm, 0)
            for _ in range(WARM):
                self._stepper()
            self.memory = peak_bytes(self._stepper)

    def round(self, steps: int) -> None:
        """Time a few steps and one generation. Raises as `warm` does."""
        with _blaming(self.arm):
            self.steps += [self._stepper.seconds() for _ in range(steps)]
            tokenizer = self.arm.setup.tokenizer
            began, made_bytes = time.perf_counter(), 0
            for (new,) in generate(self._stepper.model, [[]], _GENERATED, seed=len(self.generation)):
                made_bytes += len(tokenizer.decode(new))
            self.generation.append(made_bytes / (time.perf_counter() - began))

    def numbers(self) -> dict[str, float]:
        """Medians over everything measured: seconds per step and what follows from it."""
        arm, seconds = self.arm, statistics.median(self.steps)
        tokens = arm.resolved.data.context * arm.resolved.train.batch
        return {
            "step_seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "bytes_per_second": arm.bytes_per_step / seconds,
            "flops_per_second": arm.flops_per_step / seconds,
            "peak_bytes": self.memory,
            "generation_bytes_per_second": statistics.median(self.generation),
        }


def pairs(arm: Arm, baseline: Arm, seed: int) -> Generator[tuple[float, float], None, None]:
    """Seconds of a training step of either, without end: step by step in turn, so that what slows the machine down for
    a while slows both; after warm-up, on the first batches of the run, with the threads of a run that has the machine
    to itself. Raises as `Bench.warm` does."""
    with with_threads(arm.resolved.run.threads):
        steppers = []
        for one in (arm, baseline):
            with _blaming(one):
                steppers.append(Stepper(one, seed))
                for _ in range(WARM):
                    steppers[-1].seconds()
        mine, its = steppers
        for turn in count():
            with _blaming(arm):
                if turn % 2:  # neither always runs in what the other has left in the caches
                    second, first = its.seconds(), mine.seconds()
                else:
                    first, second = mine.seconds(), its.seconds()
            yield first, second


@contextmanager
def with_threads(threads: int | None) -> Iterator[None]:
    """With so many threads, where the settings say how many."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measured_steps(arm: Arm, seed: int) -> int:
    """Steps that fit into the arm's budget of seconds, by the median step after warm-up, on the run's first batches.
    Raises as `Bench.warm` does."""
    with _blaming(arm):
        stepper = Stepper(arm, seed)
        seconds = [stepper.seconds() for _ in range(WARM + _TIMED)][WARM:]
    return max(1, int(float(arm.resolved.budget.amount) / statistics.median(seconds)))


@contextmanager
def _blaming(arm: Arm) -> Iterator[None]:
    """As `blaming`; that the device is too small is no part's fault."""
    with blaming(arm.setup.registry):
        try:
            yield
        except torch.OutOfMemoryError:
            rows = max(1, arm.resolved.train.batch // 2)
            raise UserError(
                f"variant '{arm.variant}': the device has not enough memory; expected fewer rows at once, as "
                f"run.micro_batch={rows}"
            ) from None


def seconds_of(arm: Arm, rate: float, step: float | None = None) -> float:
    """Seconds that a run of the arm takes at `rate` FLOPs per second, or `step` seconds a step where that is known."""
    if arm.steps is None:
        return float(arm.resolved.budget.amount)
    return arm.steps * (step or arm.flops_per_step / rate) + arm.stage_flops / rate


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


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts each storage from the first operation that touches it to its end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves([args, kwargs, result]):
            if isinstance(value, Tensor):
                self._count(value)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.alive:
            return
        self.alive[key] = storage.nbytes()
        self.now += self.alive[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.alive.pop(key)


def peak_bytes(work: Callable[[], object]) -> int:
    """Peak bytes of the tensors that `work` touches, parameters and optimizer states included; allocations inside an
    operation are not seen. Slows it down: not to be timed."""
    watch = _Watch()
    with watch:
        work()
    return watch.peak
