"""Training tests, through the real data path: what nobody can predict stays unpredicted (T-IID), what anybody can
predict is learned (the mirror). A leak that every other test escapes is still worth nats to an optimizer."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lllm.data import Corpus, Dataset, Document, Tokenizer, prepare
from lllm.data.batches import Batch, TrainBatches, valid_batches
from lllm.data.contracts import Ids, Split
from lllm.model import Composition, LatentModel, compose
from lllm.registry import Build, PartConfig, Registry
from lllm.train.hooks import progress_at

__all__ = ["ALONE", "Toy", "guesses", "learns", "trained"]

ALONE = Build(Registry(), {})  # for parts that build no other

SYMBOLS = 16
PERIOD = 8
_WIDTH, _CONTEXT, _ROWS = 32, 48, 16
_LEARNED = 0.05  # nats per token

Data = Literal["iid", "periodic"]


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
    """Documents of odd lengths, of independent uniform symbols or of one word of 8 symbols again and again."""

    def __init__(self, data: Data, tokens: int = 40_000) -> None:
        super().__init__(PartConfig(), ALONE)
        self.data, self.tokens = data, tokens

    def documents(self, split: Split) -> Iterator[Document]:
        random = np.random.Generator(np.random.PCG64([split == "valid", 1]))
        word = np.random.Generator(np.random.PCG64(2)).integers(0, SYMBOLS, PERIOD, dtype=np.uint8)
        left = self.tokens if split == "train" else self.tokens // 4
        while left > 0:
            length = int(random.integers(9, 200))
            drawn = random.integers(0, SYMBOLS, length, dtype=np.uint8)
            yield Document((drawn if self.data == "iid" else np.resize(word, length)).tobytes())
            left -= length

    def digest(self) -> str:
        return f"{self.data} {self.tokens}"

    def describe(self) -> str:
        return f"{self.data} symbols"


def guesses(registry: Registry, choice: Composition, *, steps: int = 300) -> str | None:
    """T-IID: of uniform symbols, held-out nats per token are not below ln 16 by more than 3 standard errors."""
    nats, error, kind = trained(registry, choice, "iid", steps)
    floor = math.log(SYMBOLS) - 3 * error
    if kind == "none" or nats >= floor:
        return None
    return f"independent uniform symbols are predicted: {nats:.4f} nats each after {steps} steps, below {floor:.4f}"


def learns(registry: Registry, choice: Composition, *, steps: int = 300) -> str | None:
    """The mirror: a text of period 8 is predicted."""
    nats, _, kind = trained(registry, choice, "periodic", steps)
    if kind == "none" or nats < _LEARNED:
        return None
    return f"a text of period {PERIOD} still costs {nats:.3f} nats per token after {steps} steps; expected {_LEARNED}"


def trained(registry: Registry, choice: Composition, data: Data, steps: int) -> tuple[float, float, str]:
    """Held-out nats per symbol after training, their standard error over rows, and the likelihood's kind."""
    sized = Composition(choice.parts, _WIDTH, choice.ratio, Symbols.vocab, Symbols.illegal)
    multiple = math.lcm(PERIOD, choice.ratio)
    with tempfile.TemporaryDirectory() as folder:
        made = prepare(Toy(data), Symbols(PartConfig(), ALONE), {}, multiple=multiple, root=Path(folder))
        model = compose(registry, sized, seed=0)
        _train(model, made, steps, multiple)
        return _evaluate(model, made, multiple)


def _train(model: LatentModel, data: Dataset, steps: int, multiple: int) -> None:
    context = -(-_CONTEXT // multiple) * multiple
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
def _evaluate(model: LatentModel, data: Dataset, multiple: int) -> tuple[float, float, str]:
    model.eval()
    context = -(-_CONTEXT // multiple) * multiple
    nats: list[Tensor] = []
    sizes: list[Tensor] = []
    kind = "none"
    for batch in map(_without_eos, valid_batches(data.valid, context=context, size=64, pad=Symbols.pad)):
        primary = next(value for value in model.likelihoods(batch).values() if value.primary)
        kind = primary.kind
        nats.append(primary.nats.double().sum(1))
        sizes.append(batch.ok.sum(1).double())
    total, size = torch.cat(nats), torch.cat(sizes)
    mean = float(total.sum() / size.sum())
    error = float((total - mean * size).square().sum().sqrt() / size.sum())  # of a ratio, rows being independent
    return mean, error, kind


def _without_eos(batch: Batch) -> Batch:
    """EOS is left out of what is scored: where documents end can be learned. It ends its row, so padding stays last."""
    return replace(batch, ok=batch.ok & (batch.tokens != Symbols.eos))
