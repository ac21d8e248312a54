"""All tests of a model in one state of its weights, which is left as it was found."""

from __future__ import annotations

import copy
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.noise import stream
from lllm.probe.calls import Calls, mode
from lllm.probe.carried import carried
from lllm.probe.finding import Finding, judged
from lllm.probe.replaced import company, in_score, in_training
from lllm.probe.rows import other_text, places

__all__ = ["PUSHING", "Probe", "probe"]

PUSHING = 10.0  # seconds after which no more tokens are pushed
MOST = 64  # rows that are pushed: with more of them the stretch of each is short enough


@dataclass(frozen=True)
class Probe:
    """What was tried and found.

    rows, context: of the text; longest: its longest row, in tokens; covered: positions that were predicted from a
    carried state; offset: where in a stretch rows were cut; progress: of training, of the weights; dtype, device: of
    the model; precision: float32, or lower and float32 after it; seconds: what it took; findings: of every test.
    """

    rows: int
    context: int
    longest: int
    covered: int
    offset: int
    progress: float
    dtype: str
    device: str
    precision: str
    seconds: float
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every required test holds, and the carried state was compared at all."""
        return self.covered > 0 and all(finding.passed for finding in self.findings)

    @property
    def worst(self) -> Finding | None:
        """The finding that fails by most; None where none fails."""
        failed = [finding for finding in self.findings if not finding.passed]
        return max(failed, key=lambda finding: abs(finding.largest), default=None)

    @property
    def largest(self) -> float:
        """The largest deviation of any required test in float32, in nats."""
        return max((abs(f.largest) for f in self.findings if f.exact and f.required), default=0.0)

    def record(self) -> dict[str, Any]:
        """As probe.json has it."""
        plain = {name: value for name, value in vars(self).items() if name != "findings"}
        findings = [finding.record() for finding in self.findings]
        return {**plain, "passed": self.passed, "largest": self.largest, "findings": findings}


def probe(calls: Calls, rows: Batch, *, micro: int | None = None, offset: int | None = None) -> Probe:
    """Every test on `rows` of the shape in which evaluation scores. micro: rows of a training micro-batch (None: as
    many as `rows`); offset: see `places`; by default no run has that of another."""
    began = time.monotonic()
    device = rows.tokens.device
    longest = int(rows.ok.sum(1).max())
    offset = secrets.randbelow(max(1, longest)) if offset is None else offset
    lower = _lower_precision(calls, device)
    with restored(calls):
        covered, findings = _examined(calls, rows, micro or len(rows), offset, exact=not lower)
        if lower:
            plain = replace(calls, autocast=nullcontext, forward=calls.model)
            with _without_tf32():
                covered, more = _examined(plain, rows, micro or len(rows), offset, exact=True)
            findings += more
    return Probe(
        rows=len(rows),
        context=rows.tokens.shape[1],
        longest=longest,
        covered=covered,
        offset=offset,
        progress=calls.progress,
        dtype=str(next(calls.model.parameters()).dtype).removeprefix("torch."),
        device=device.type,
        precision=lower or "float32",
        seconds=time.monotonic() - began,
        findings=findings,
    )


def _examined(calls: Calls, rows: Batch, micro: int, offset: int, *, exact: bool) -> tuple[int, list[Finding]]:
    slots = calls.model.head.ratio
    generator = stream(offset, "probe")
    other = other_text(rows, generator)
    points, stretch = places(rows.ok.sum(1), offset + 1 + len(rows), calls.model.ratio)
    points = points + int(torch.randint(max(1, stretch), (1,), generator=generator))
    said = carried(calls, rows.take(_spread(len(rows), min(len(rows), MOST)).to(points.device)), offset, PUSHING)
    scored = calls.score(rows)
    gaps = [*said.gaps, *in_score(calls, scored, rows, points, other)]
    gaps += company(calls, scored, rows, replace(rows, tokens=torch.where(rows.ok, other, rows.tokens)))
    findings = [judged(gap, slots, exact=exact) for gap in gaps]
    index = _spread(len(rows), micro).to(points.device)
    required = not calls.training_leaks
    with mode(calls.model, train=True):
        for gap in in_training(calls, rows.take(index), points[index], other[index]):
            found = judged(gap, slots, exact=exact, required=required)
            findings.append(found if found.row is None else replace(found, row=int(index[found.row])))
    return said.covered, findings


def _spread(rows: int, wanted: int) -> Tensor:
    """Indices of `wanted` of so many rows, from the first to the last; repeated where there are fewer."""
    return (torch.arange(wanted) * rows // wanted) if wanted <= rows else torch.arange(wanted) % rows


@contextmanager
def restored(calls: Calls) -> Iterator[None]:
    """What a forward pass may leave behind is put back: parameters, buffers and attributes of modules and hooks, and
    the state of every generator."""
    owners = [(owner, dict(vars(owner))) for owner in (*calls.model.modules(), *calls.hooks)]
    values = [value for _, attributes in owners for value in attributes.values()]
    containers = [(value, copy.copy(value)) for value in values if isinstance(value, dict | list | set)]
    tensors = [*calls.model.parameters(), *calls.model.buffers(), *(v for v in values if isinstance(v, Tensor))]
    kept = [(tensor, tensor.detach().clone()) for tensor in {id(tensor): tensor for tensor in tensors}.values()]
    python, numpy = random.getstate(), np.random.get_state()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for held, before in containers:
            held.clear()
            held.extend(before) if isinstance(held, list) else held.update(before)
        for owner, attributes in owners:
            vars(owner).clear()
            vars(owner).update(attributes)
        with torch.no_grad():
            for tensor, was in kept:
                if not torch.equal(tensor, was):
                    tensor.copy_(was)


def _lower_precision(calls: Calls, device: torch.device) -> str | None:
    """The precision of products where it is below float32."""
    with calls.autocast():
        if torch.is_autocast_enabled(device.type):
            return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")
    tf32 = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    return "tf32" if tf32 else None


@contextmanager
def _without_tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
