"""Bits per byte on fixed validation documents, with nats per document, per slot and per position; further metrics.

bpb = total nats (EOS included) / (ln 2 * total raw bytes of the same targets), summed in float64. A likelihood of kind
none has neither nats nor bits per byte.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lllm.data.batches import Batch
from lllm.data.contracts import Corpus
from lllm.model.contracts import Hidden, Likelihood
from lllm.model.latent import LatentModel
from lllm.train.measures import Measures, rows_at_once
from lllm.train.world import World

__all__ = ["Evaluation", "Score", "evaluate"]


@dataclass
class Score:
    """One likelihood of the evaluated targets. nats [documents], of kind none the head's own score;
    text_nats: without EOS, where nats are per token."""

    kind: str
    primary: bool
    nats: NDArray[np.float64]
    text_nats: float | None = None


@dataclass
class Evaluation:
    """What a model scored.

    documents: their indices in order; bytes [documents]: raw bytes of the scored targets.
    ends [documents]: scored EOS; rows [rows]: nats of each that was read, of the primary likelihood.
    scores: by likelihood.
    slots: mean nats per token of each slot of a chunk; positions: mean nats per token by first position of log-2
    buckets of the place in the document, both of the primary likelihood where it has nats per token.
    metrics: what the corpus and the head report, None where there was nothing to measure; broken: the first metric of
    theirs that is not a number although there was.
    """

    documents: NDArray[np.int64]
    bytes: NDArray[np.int64]
    ends: NDArray[np.int64]
    rows: NDArray[np.float64]
    scores: dict[str, Score]
    slots: list[float] = field(default_factory=list)
    positions: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    broken: str | None = None

    @property
    def primary(self) -> tuple[str, Score]:
        """The likelihood that tables show."""
        return next((name, score) for name, score in self.scores.items() if score.primary)

    def bpb(self, name: str | None = None) -> float | None:
        """Bits per byte by likelihood `name` (None: the primary); None where it is of kind none."""
        score = self.scores[name] if name else self.primary[1]
        return None if score.kind == "none" else float(score.nats.sum() / (math.log(2) * self.bytes.sum()))

    def nonsense(self) -> str | None:
        """What is not a number: the primary likelihood, or a metric."""
        name, score = self.primary
        bpb = self.bpb()
        value = float(score.nats.sum()) if bpb is None else bpb
        if not math.isfinite(value):
            return f"{value} for '{name}'" if bpb is None else f"{value} bits per byte"
        return None if self.broken is None else f"no number for the metric '{self.broken}'"

    def record(self, step: int) -> dict[str, Any]:
        """The line of metrics.jsonl after `step` steps."""
        return {"step": step, "bpb": self.bpb(), **({"metrics": self.metrics} if self.metrics else {})}

    def result(self) -> dict[str, Any]:
        """The fields of result.json that are about quality."""
        name, score = self.primary
        total = float(self.bytes.sum())
        bpb, text = self.bpb(), score.text_nats
        return {
            "bpb": bpb,
            "bpb_text": None if bpb is None or text is None else text / (math.log(2) * total),
            "nats_per_byte": None if bpb is None else float(score.nats.sum()) / total,
            "kind": score.kind,
            "likelihood": name,
            "likelihoods": {
                other: {"kind": s.kind, "bpb": self.bpb(other), "primary": s.primary}
                for other, s in self.scores.items()
            },
            "metrics": self.metrics,
            "slots": self.slots,
            "positions": self.positions,
            "documents": len(self.documents),
            "evaluated_bytes": int(total),
            "bytes_per_row": total / max(1, len(self.rows)),
        }


class _Sums:
    """Sums that batches add to, in float64: per document, per slot and per bucket of places."""

    BUCKETS = 40

    def __init__(self, documents: int, slots: int, measures: Measures, bytes_per_token: Tensor) -> None:
        zeros = partial(torch.zeros, dtype=torch.float64, device=measures.device)
        self.measures, self.bytes_per_token = measures, bytes_per_token
        self.bytes, self.ends, self.seen = zeros(documents), zeros(documents), zeros(documents)
        self.slots, self.positions = zeros(2, slots), zeros(2, self.BUCKETS)
        self.nats: dict[str, Tensor] = {}
        self.text: defaultdict[str, Tensor] = defaultdict(lambda: zeros(()))
        self.meta: dict[str, tuple[str, bool]] = {}  # kind of the likelihood, and whether it is the primary one

    def all(self) -> list[Tensor]:
        """Every tensor, for a sum over ranks."""
        whole = [self.bytes, self.ends, self.seen, self.slots, self.positions]
        named = [held[name] for held in (self.nats, self.text) for name in sorted(held)]
        return [*whole, *named, *self.measures.all()]

    def add(self, x: Hidden, likelihoods: Mapping[str, Likelihood], batch: Batch) -> Tensor:
        """Count rows that the model scored; the nats [B] of each, of the primary likelihood."""
        ok = x.ok
        if "scored" in batch.columns:
            ok = ok & (batch.columns["scored"].view(ok.shape) > 0)
        size = self.bytes_per_token[batch.tokens].view(ok.shape)
        self.bytes.index_add_(0, batch.documents, (size * ok).sum((1, 2)).double())
        self.ends.index_add_(0, batch.documents, (ok & (size == 0)).sum((1, 2)).double())
        self.seen.index_add_(0, batch.documents, ok.any(-1).any(-1).double())
        primary = torch.zeros(len(batch), dtype=torch.float64, device=size.device)
        for name, likelihood in likelihoods.items():
            self.meta[name] = (likelihood.kind, likelihood.primary)
            nats = likelihood.nats * ok.any(-1) if likelihood.slots is None else likelihood.slots * ok
            by_row = nats.double().flatten(1).sum(1)
            self.nats.setdefault(name, torch.zeros_like(self.bytes)).index_add_(0, batch.documents, by_row)
            primary = by_row if likelihood.primary else primary
            if likelihood.slots is None:
                continue
            per_token = likelihood.slots.double() * ok
            self.text[name] += (per_token * (size > 0)).sum()
            if likelihood.primary and likelihood.kind != "none":
                place = batch.starts[:, None] + torch.arange(batch.tokens.shape[1], device=ok.device)
                bucket = torch.log2((place + 1).double()).floor().long().clamp(max=self.BUCKETS - 1)
                for i, value in enumerate((per_token, ok.double())):
                    self.slots[i] += value.sum((0, 1))
                    self.positions[i].index_add_(0, bucket.flatten(), value.flatten())
        self.measures.add(x, batch, ok, size, likelihoods)
        return primary


@torch.no_grad()
def evaluate(
    model: LatentModel,
    batches: Iterable[Batch],
    *,
    documents: int,
    bytes_per_token: Tensor,
    corpus: Corpus | None = None,
    world: World | None = None,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    trained: float = 1.0,
    last: Mapping[str, float] | None = None,
    progress: Callable[[int], None] = lambda rows: None,
) -> Evaluation:
    """Score batches; with several ranks each scores its share of every batch's rows. documents: how many there are;
    corpus: whose metrics are wanted beside the head's; trained: training progress of the weights; last: batch
    statistics of the latest training step, for parts that they steer; progress: told how many rows were scored."""
    world = world or World(device=bytes_per_token.device)
    sums = _Sums(documents, model.head.ratio, Measures(corpus, model.head, world.device), bytes_per_token)
    by_row: list[tuple[int, Tensor]] = []  # nats of the rows that this rank scored, from such a one on
    count, idle, was_training = 0, None, model.training

    def add(rows: Batch) -> Tensor:
        rows = rows.to(world.device)
        with autocast():
            return sums.add(*model.score(rows, progress=trained, last=last), rows)

    model.eval()
    try:
        for batch in batches:
            start, stop = world.share(len(batch))
            most = rows_at_once(corpus, batch, model.vocab)
            for first in range(start, stop, most):
                by_row.append((count + first, add(batch.slice(first, min(first + most, stop)))))
            idle = batch.slice(0, 1)
            count += len(batch)
            progress(len(batch))
        if not by_row and idle is not None:  # no row was this rank's: it learns of what others add to, and adds nothing
            add(idle)
            for tensor in sums.all():
                tensor.zero_()
    finally:
        model.train(was_training)
    rows = torch.zeros(count, dtype=torch.float64, device=world.device)
    for first, nats in by_row:
        rows[first : first + len(nats)] = nats
    world.sum_([*sums.all(), rows])
    return _finish(sums, rows)


def _finish(sums: _Sums, rows: Tensor) -> Evaluation:
    index = torch.nonzero(sums.seen)[:, 0]
    scores = {
        name: Score(*sums.meta[name], nats[index].cpu().numpy(), float(sums.text[name]) if name in sums.text else None)
        for name, nats in sums.nats.items()
    }
    slots, positions = ((total / count.clamp(min=1)).tolist() for total, count in (sums.slots, sums.positions))
    return Evaluation(
        documents=index.cpu().numpy(),
        bytes=sums.bytes[index].round().long().cpu().numpy(),
        ends=sums.ends[index].round().long().cpu().numpy(),
        rows=rows.cpu().numpy(),
        scores=scores,
        slots=slots if bool(sums.slots[1].any()) else [],
        positions={str(2**i - 1): mean for i, mean in enumerate(positions) if float(sums.positions[1, i]) > 0},
        metrics=sums.measures.finish(),
        broken=sums.measures.broken(),
    )
