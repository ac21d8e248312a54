"""Bits per byte on fixed validation documents, with nats per document, per slot and per position; further metrics.

bpb = total nats (EOS included) / (ln 2 * total raw bytes of the same targets), summed in float64. A likelihood of kind
none has neither nats nor bits per byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lllm.data.batches import Batch
from lllm.data.contracts import Corpus
from lllm.errors import UserError
from lllm.model.contracts import Likelihood
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
    tokens: int
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
    """Sums that batches add to: one row per document, slot and position bucket."""

    BUCKETS = 40

    def __init__(self, documents: int, slots: int, measures: Measures, device: torch.device) -> None:
        self.documents, self.measures = documents, measures
        self.bytes = torch.zeros(documents, dtype=torch.float64, device=device)
        self.ends = torch.zeros(documents, dtype=torch.float64, device=device)
        self.seen = torch.zeros(documents, dtype=torch.float64, device=device)
        self.count = 0  # rows, of all ranks
        self.rows: list[tuple[int, Tensor]] = []  # nats of those that this one scored, from such a row on
        self.tokens = torch.zeros((), dtype=torch.float64, device=device)
        self.slots = torch.zeros(2, slots, dtype=torch.float64, device=device)
        self.positions = torch.zeros(2, self.BUCKETS, dtype=torch.float64, device=device)
        self.nats: dict[str, Tensor] = {}
        self.text: dict[str, Tensor] = {}
        self.meta: dict[str, tuple[str, bool]] = {}

    def all(self) -> list[Tensor]:
        """Every tensor, for a sum over ranks."""
        whole = [self.bytes, self.ends, self.seen, self.tokens, self.slots, self.positions]
        named = [held[name] for held in (self.nats, self.text) for name in sorted(held)]
        return [*whole, *named, *self.measures.all()]


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
    sums = _Sums(documents, model.head.ratio, Measures(corpus, model.head, world.device), world.device)
    was_training, idle = model.training, None
    model.eval()
    try:
        for batch in batches:
            start, stop = world.share(len(batch))
            most = rows_at_once(corpus, batch, model.vocab)
            for first in range(start, stop, most):
                rows = batch.slice(first, min(first + most, stop))
                with autocast():
                    nats = _add(sums, model, rows.to(world.device), bytes_per_token, trained, last)
                sums.rows.append((sums.count + first, nats))
            idle = batch.slice(0, 1)
            sums.count += len(batch)
            progress(len(batch))
        if (
            not sums.nats and idle is not None
        ):  # this process had no row: it learns of the likelihoods and metrics, and adds nothing
            with autocast():
                _add(sums, model, idle.to(world.device), bytes_per_token, trained, last)
            for tensor in sums.all():
                tensor.zero_()
    finally:
        model.train(was_training)
    by_row = torch.zeros(sums.count, dtype=torch.float64, device=world.device)
    for first, nats in sums.rows:
        by_row[first : first + len(nats)] = nats
    world.sum_([*sums.all(), by_row])
    return _finish(sums, by_row)


def _add(
    sums: _Sums,
    model: LatentModel,
    batch: Batch,
    bytes_per_token: Tensor,
    trained: float,
    last: Mapping[str, float] | None,
) -> Tensor:
    """Nats [B] of the rows, of the primary likelihood."""
    x, likelihoods = model.score(batch, progress=trained, last=last)
    ok = x.ok
    _, n, slots = ok.shape
    if "scored" in batch.columns:
        real, ok = ok, ok & (batch.columns["scored"].view(ok.shape) > 0)
        if bool((ok.any(-1) & (real & ~ok).any(-1)).any()):
            _refuse_mixed(likelihoods)
    size = bytes_per_token[batch.tokens].view(ok.shape)
    sums.bytes.index_add_(0, batch.documents, (size * ok).sum((1, 2)).double())
    sums.ends.index_add_(0, batch.documents, (ok & (size == 0)).sum((1, 2)).double())
    sums.seen.index_add_(0, batch.documents, ok.any(-1).any(-1).double())
    sums.tokens += ok.sum()
    primary = torch.zeros(len(batch), dtype=torch.float64, device=size.device)
    for name, likelihood in likelihoods.items():
        sums.meta[name] = (likelihood.kind, likelihood.primary)
        nats = likelihood.nats * ok.any(-1) if likelihood.slots is None else likelihood.slots * ok
        held = sums.nats.setdefault(name, torch.zeros_like(sums.bytes))
        by_row = nats.double().flatten(1).sum(1)
        held.index_add_(0, batch.documents, by_row)
        primary = by_row if likelihood.primary else primary
        if likelihood.slots is None:
            continue
        per_token = likelihood.slots.double() * ok
        sums.text.setdefault(name, torch.zeros_like(sums.tokens)).add_((per_token * (size > 0)).sum())
        if likelihood.primary and likelihood.kind != "none":
            place = batch.starts[:, None] + torch.arange(n * slots, device=ok.device)
            bucket = torch.log2((place + 1).double()).floor().long().clamp(max=sums.BUCKETS - 1).view(ok.shape)
            for i, value in enumerate((per_token, ok.double())):
                sums.slots[i] += value.sum((0, 1))
                sums.positions[i].index_add_(0, bucket.flatten(), value.flatten())
    sums.measures.add(x, batch, ok, size, likelihoods)
    return primary


def _refuse_mixed(likelihoods: Mapping[str, Likelihood]) -> None:
    """A chunk that is scored in part has nats that cannot be told apart."""
    whole = [name for name, likelihood in likelihoods.items() if likelihood.slots is None]
    if whole:
        raise UserError(
            f"likelihood '{whole[0]}' is of whole chunks, and the data score some of their tokens only; expected "
            "unscored spans that are multiples of model.ratio, or a head with nats per token"
        )


def _finish(sums: _Sums, by_row: Tensor) -> Evaluation:
    index = torch.nonzero(sums.seen)[:, 0]
    scores: dict[str, Score] = {}
    for name, nats in sums.nats.items():
        kind, primary = sums.meta[name]
        text = float(sums.text[name]) if name in sums.text else None
        scores[name] = Score(kind, primary, nats[index].cpu().numpy(), text)
    return Evaluation(
        documents=index.cpu().numpy(),
        bytes=sums.bytes[index].round().long().cpu().numpy(),
        ends=sums.ends[index].round().long().cpu().numpy(),
        rows=by_row.cpu().numpy(),
        tokens=int(sums.tokens),
        scores=scores,
        slots=_means(sums.slots) if bool(sums.slots[1].any()) else [],
        positions={
            str(2**i - 1): mean for i, mean in enumerate(_means(sums.positions)) if float(sums.positions[1, i]) > 0
        },
        metrics=sums.measures.finish(),
        broken=sums.measures.broken(),
    )


def _means(pair: Tensor) -> list[float]:
    means: list[float] = (pair[0] / pair[1].clamp(min=1)).tolist()
    return means
