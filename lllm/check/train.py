"""Suites of the kinds that train: objective, schedule, optimizer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lllm.data.batches import Batch
from lllm.model.contracts import TrainOut
from lllm.model.noise import stream
from lllm.model.roles import Role
from lllm.train.contracts import Named, Objective, Optimizer, Schedule
from lllm.train.hooks import progress_at

__all__ = ["objective", "optimizer", "schedule"]


def objective(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    """Finite weights without gradient, of the shape of the loss, zero where nothing is scored."""
    part = make()
    assert isinstance(part, Objective)
    ok = torch.rand(4, 3, 4, generator=stream("ok")) < 0.6
    ok[0, 0], ok[1, 2] = True, False
    nats = torch.rand(4, 3, 4, generator=stream("nats")).requires_grad_()
    columns = {name: torch.rand(4, 12, generator=stream(name)) for name in part.columns}
    rows = torch.arange(4)
    batch = Batch(torch.ones(4, 12, dtype=torch.long), ok.view(4, 12), rows, rows * 0, rows, rows * 0, columns)
    for per, slots, scored in (("token", nats * ok, ok), ("chunk", None, ok.any(-1))):
        out = TrainOut((nats * ok).sum(-1), slots, ok)
        weights = part.weights(out, batch, 0.5, {})
        if weights.shape != scored.shape:
            yield "shape", f"weights per {per} have shape {tuple(weights.shape)}; expected {tuple(scored.shape)}"
            continue
        if weights.requires_grad:
            yield "gradient", f"weights per {per} carry a gradient; detach them: they are not what is descended"
        if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
            yield "values", f"weights per {per} are not all finite and at least 0"
        if bool((weights[~scored] != 0).any()):
            yield "values", f"weights per {per} are not 0 where nothing is scored; they would count in the normaliser"
        if not bool(weights.sum() > 0):
            yield "values", f"weights per {per} are all 0: nothing would be learned"


def schedule(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    """A factor in [0, 1] everywhere in [0, 1], and above 0 at the first and the last step of any run."""
    part = make()
    assert isinstance(part, Schedule)
    factors = [part.factor(i / 1000) for i in range(1001)]
    for i, factor in enumerate(factors):
        if not (math.isfinite(factor) and 0 <= factor <= 1):
            yield "range", f"factor({i / 1000}) = {factor}; expected a number in [0, 1]"
            return
    for steps in (1, 2, 3, 1000):
        for step in (0, steps - 1):
            if part.factor(progress_at(step, steps)) == 0:
                yield "rate", f"the factor is 0 at step {step + 1} of {steps}: it would read a batch and train nothing"
                return


def optimizer(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    """It descends, obeys learning rates and roles, and its state can be saved, loaded and forgotten."""
    for test in (_descends, _obeys, _saves, _forgets):
        yield from test(make)


_SHAPES: Mapping[str, tuple[tuple[int, ...], Role]] = {
    "matrix": ((6, 4), Role("matrix")),
    "bank": ((2, 4, 4), Role("matrix", blocks=2)),
    "fused": ((12, 4), Role("matrix", blocks=3)),
    "vector": ((5,), Role("vector", decay=False)),
    "embedding": ((7, 4), Role("embedding", decay=False)),
    "unembedding": ((7, 4), Role("unembedding")),
    "slow": ((4, 6), Role("matrix", lr_mult=0.5)),
    "still": ((4, 4), Role("matrix", lr_mult=0.0)),
    "unused": ((3, 4), Role("table")),
}


class _Problem:
    """Parameters of every role whose loss is their squared distance from targets; one of them has no gradient."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.named = [
            Named(name, nn.Parameter(torch.randn(shape, generator=stream("start", name))), role)
            for name, (shape, role) in _SHAPES.items()
        ]
        self.targets = {p.name: torch.randn(p.tensor.shape, generator=stream("target", p.name)) for p in self.named}
        self.optimizer: Optimizer = make()
        self.optimizer.attach(self.named)

    def loss(self) -> Tensor:
        return torch.stack([(p.tensor - self.targets[p.name]).square().sum() for p in self.used()]).sum()

    def used(self) -> list[Named]:
        return [p for p in self.named if p.name != "unused"]

    def steps(self, count: int, lr: float) -> None:
        for _ in range(count):
            for p in self.named:
                p.tensor.grad = None
            self.loss().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step(lr)

    def values(self) -> dict[str, Tensor]:
        return {p.name: p.tensor.detach().clone() for p in self.named}

    def put(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for p in self.named:
                p.tensor.copy_(values[p.name])


def _descends(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    problem = _Problem(make)
    before = float(problem.loss().detach())
    problem.steps(100, problem.optimizer.default_lr)
    after = float(problem.loss().detach())
    if not after < before:
        yield "descent", f"a quadratic goes from {before:.4g} to {after:.4g} in 100 steps at the default rate"


def _obeys(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    problem = _Problem(make)
    start = problem.values()
    problem.steps(3, 0.0)
    if _moved(start, problem.values()):
        yield "rate", "parameters move at learning rate 0"
    problem = _Problem(make)
    problem.steps(3, problem.optimizer.default_lr)
    if "still" in _moved(start, problem.values()):
        yield "rate", "a parameter whose role says lr_mult = 0 moves"
    problem = _Problem(make)
    for p in problem.named:
        p.tensor.grad = torch.zeros_like(p.tensor)
    problem.optimizer.step(problem.optimizer.default_lr)
    moved = _moved(start, problem.values())
    forbidden = [p.name for p in problem.named if not p.role.decay and p.name in moved]
    if forbidden:
        yield "decay", f"a parameter of role {forbidden[0]} moves without a gradient although its role forbids decay"


def _saves(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    problem, second = _Problem(make), _Problem(make)
    lr = problem.optimizer.default_lr
    problem.steps(3, lr)
    saved, values = copy.deepcopy(problem.optimizer.state()), problem.values()
    if not _storable(saved):
        yield "state", "holds something else than tensors, numbers, strings, lists and dicts"
    problem.steps(2, lr)
    second.put(values)
    second.optimizer.load_state(saved)
    second.steps(2, lr)
    if _moved(problem.values(), second.values()):
        yield "state", "an optimizer that loads a saved state goes on otherwise than the one that saved it"


def _forgets(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    problem, fresh = _Problem(make), _Problem(make)
    lr = problem.optimizer.default_lr
    start = problem.values()
    problem.steps(3, lr)
    kept = copy.deepcopy(problem.optimizer.state()).get("vector")
    problem.optimizer.reset([p.name for p in problem.named if p.name != "vector"])
    if repr(problem.optimizer.state().get("vector")) != repr(kept):
        yield "reset", "resetting some parameters touches the state of another"
    problem.optimizer.reset(["vector"])
    problem.put(start)
    problem.steps(1, lr)
    fresh.steps(1, lr)
    if _moved(problem.values(), fresh.values()):
        yield "reset", "the first step after a reset is not a first step (a step count or an average is left over)"


def _moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def _storable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and _storable(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_storable, value))
    return value is None or isinstance(value, Tensor | bool | int | float | str)
