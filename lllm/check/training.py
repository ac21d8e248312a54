"""LEARNS: what anybody can predict is learned, through the real data path."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lllm.data import Corpus, Dataset, Document, Tokenizer, prepare
from lllm.data.batches import Batch, TrainBatches, valid_batches
from lllm.data.contracts import Ids, Split
from lllm.model import Composition, LatentModel, compose
from lllm.registry import Build, PartConfig, Registry
from lllm.train.hooks import progress_at

__all__ = ["ALONE", "Symbols", "Toy", "learns"]

ALONE = Build(Registry(), {})  # for parts that build no other
SYMBOLS = 16
PERIOD = 8
_WIDTH, _CONTEXT, _ROWS = 32, 48, 16
_LEARNED = 0.05  # nats per token


class Symbols(Tokenizer):
    """Bytes 0..15 are their own ids."""

    vocab, eos, pad, illegal = SYMBOLS + 2, SYMBOLS, SYMBOLS + 1, (SYMBOLS + 1,)

    def encode(self, raw: bytes) -> Ids:
        return np.frombuffer(raw, dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        return bytes(int(i) for i in ids if i < SYMBOLS)

    @property
    def bytes_per_token(self) -> Ids:
        return (np.arange(self.vocab) < SYMBOLS).astype(np.int64)


class Toy(Corpus):
    """Documents of odd lengths, of one word of 8 symbols again and again."""

    def __init__(self, tokens: int = 40_000) -> None:
        super().__init__(PartConfig(), ALONE)
        self.tokens = tokens

    def documents(self, split: Split) -> Iterator[Document]:
        random = np.random.Generator(np.random.PCG64([split == "valid", 1]))
        word = np.random.Generator(np.random.PCG64(2)).integers(0, SYMBOLS, PERIOD, dtype=np.uint8)
        left = self.tokens if split == "train" else self.tokens // 4
        while left > 0:
            length = int(random.integers(9, 200))
            yield Document(np.resize(word, length).tobytes())
            left -= length

    def digest(self) -> str:
        return f"periodic {self.tokens}"

    def describe(self) -> str:
        return "periodic symbols"


def learns(registry: Registry, choice: Composition, *, steps: int = 300) -> str | None:
    """A text of period 8 is predicted, in held-out nats per symbol."""
    sized = Composition(choice.parts, _WIDTH, choice.ratio, Symbols.vocab, Symbols.illegal)
    multiple = math.lcm(PERIOD, choice.ratio)
    context = -(-_CONTEXT // multiple) * multiple
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(Toy(), Symbols(PartConfig(), ALONE), {}, multiple=multiple, root=Path(folder))
        model = compose(registry, sized, seed=0)
        _train(model, data, steps, context, multiple)
        nats = _evaluate(model, data, context)
    if nats is None or nats < _LEARNED:
        return None
    return f"a text of period {PERIOD} still costs {nats:.3f} nats per token after {steps} steps; expected {_LEARNED}"


def _train(model: LatentModel, data: Dataset, steps: int, context: int, multiple: int) -> None:
    batches = TrainBatches(data.train, context=context, size=_ROWS, multiple=multiple, pad=Symbols.pad, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)
    last: dict[str, float] = {}
    for step in range(steps):
        batch = _without_eos(batches.at(step))
        progress = progress_at(step, steps)
        out = model(batch, progress=progress, step=step, seed=0, last=last)
        loss = out.nats.sum() / out.ok.sum() + sum(value.mean() for value in out.aux.values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, 2 * (1 - progress))
        optimizer.step()
        last = {name: float(value.mean()) for name, value in out.statistics.items()}


@torch.no_grad()
def _evaluate(model: LatentModel, data: Dataset, context: int) -> float | None:
    """Nats per symbol; None where the likelihood is of kind none."""
    model.eval()
    nats, size = 0.0, 0
    for batch in map(_without_eos, valid_batches(data.valid, context=context, size=64, pad=Symbols.pad)):
        primary = next(value for value in model.likelihoods(batch).values() if value.primary)
        if primary.kind == "none":
            return None
        nats += float(primary.nats.double().sum())
        size += int(batch.ok.sum())
    return nats / size


def _without_eos(batch: Batch) -> Batch:
    """EOS is left out of what is scored: where documents end can be learned. It ends its row, so padding stays last."""
    return replace(batch, ok=batch.ok & (batch.tokens != Symbols.eos))
