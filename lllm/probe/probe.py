"""All tests of a model in one state of its weights, which is left as it was found."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.contracts import Block
from lllm.model.noise import stream
from lllm.probe.calls import Calls, mode, restored
from lllm.probe.carried import Carried, carried
from lllm.probe.finding import Finding, judged
from lllm.probe.replaced import as_evaluated, company, in_score, in_training, unread
from lllm.probe.rows import drawn_text, other_text, places

__all__ = ["PUSHING", "Probe", "probe"]

PUSHING = 10.0  # seconds after which no more tokens are pushed
MOST = 64  # rows that are pushed: with more of them the stretch of each is short enough


@dataclass(frozen=True)
class Probe:
    """What was tried and found.

    rows, context: of the text; longest: its longest row, in tokens; covered: positions that were predicted from a
    carried state; drawn: see `Carried`; offset: where in a stretch rows were cut; progress: of training, of the
    weights; dtype, device: of the model; precision: float32, or lower and float32 after it; seconds: what it took;
    findings: of every test.
    """

    rows: int
    context: int
    longest: int
    covered: int
    drawn: bool
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


def probe(
    calls: Calls, rows: Batch, *, micro: int | None = None, offset: int | None = None, evaluated: Tensor | None = None
) -> Probe:
    """Every test on `rows` of the shape in which evaluation scores, shortest first. micro: rows of a training
    micro-batch (None: as many as `rows`); offset: see `places`; by default no run has that of another; evaluated [B]:
    nats of the rows in an evaluation of these weights."""
    began = time.monotonic()
    device = rows.tokens.device
    longest = int(rows.ok.sum(1).max())
    offset = secrets.randbelow(max(1, longest)) if offset is None else offset
    lower = _lower_precision(calls, device)
    with restored(calls):
        said, findings = _examined(calls, rows, micro or len(rows), offset, evaluated, exact=not lower)
        if lower:
            plain = replace(calls, autocast=nullcontext, forward=calls.model)
            with _without_tf32():
                said, more = _examined(plain, rows, micro or len(rows), offset, None, exact=True)
            findings += more
    return Probe(
        rows=len(rows),
        context=rows.tokens.shape[1],
        longest=longest,
        covered=said.covered,
        drawn=said.drawn,
        offset=offset,
        progress=calls.progress,
        dtype=str(next(calls.model.parameters()).dtype).removeprefix("torch."),
        device=device.type,
        precision=lower or "float32",
        seconds=time.monotonic() - began,
        findings=findings,
    )


def _examined(
    calls: Calls, rows: Batch, micro: int, offset: int, evaluated: Tensor | None, *, exact: bool
) -> tuple[Carried, list[Finding]]:
    slots = calls.model.head.ratio
    generator = stream(offset, "probe")
    other = other_text(rows, generator)
    points, stretch = places(rows.ok.sum(1), offset + 1 + len(rows), calls.model.ratio)
    points = points + int(torch.randint(max(1, stretch), (1,), generator=generator))
    scored = calls.score(rows)
    if len(rows) > MOST:
        pushed = rows.take(_spread(len(rows), MOST).to(points.device))
        said = carried(calls, pushed, calls.score(pushed), offset, PUSHING)
    else:
        said = carried(calls, rows, scored, offset, PUSHING)
    gaps = [*said.gaps, *in_score(calls, scored, rows, points, other)]
    gaps += company(calls, scored, rows, _reading(rows, other))
    half = torch.arange(len(rows), device=points.device)[(len(rows) - 1) % 2 :: 2]
    fresh, later = drawn_text(rows, generator), drawn_text(rows, generator)
    gaps += unread(calls, _reading(rows, fresh).take(half), points[half], later[half])
    gaps += [] if evaluated is None else as_evaluated(scored, rows, evaluated)
    findings = [judged(gap, slots, exact=exact) for gap in gaps]
    index = _spread(len(rows), micro).to(points.device)
    leaks = any(isinstance(module, Block) and module.training_leaks for module in calls.model.modules())
    with mode(calls.model, train=True):
        for gap in in_training(calls, rows.take(index), points[index], other[index]):
            found = judged(gap, slots, exact=exact, required=not leaks)
            findings.append(found if found.row is None else replace(found, row=int(index[found.row])))
    return said, findings


def _reading(rows: Batch, tokens: Tensor) -> Batch:
    return replace(rows, tokens=torch.where(rows.ok, tokens, rows.tokens))


def _spread(rows: int, wanted: int) -> Tensor:
    """Indices of `wanted` of so many rows, from the first to the last; repeated where there are fewer."""
    return (torch.arange(wanted) * rows // wanted) if wanted <= rows else torch.arange(wanted) % rows


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
