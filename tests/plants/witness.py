"""Direct witnesses of cheating: a composition at a run's size, randomised, and a number that is 0 where it is honest.

None of them is the probe: each looks only for the fault that its plant is said to have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lllm.check.subject import randomise_
from lllm.config import Tree, load_experiment, resolve
from lllm.data import frozen
from lllm.model import LatentModel, compose
from lllm.model.contracts import Likelihood, Rows
from lllm.model.incremental import peek, prefill, push
from lllm.registry import Registry
from tests.helpers import PlainRows, batch
from tests.plants import EXPERIMENT, Plant

__all__ = ["Witness", "text"]

_ROWS = 6
_VOCAB, _ILLEGAL = 261, (256, 258, 259, 260)


def text(rows: int, context: int, skip: int = 0) -> PlainRows:
    """Rows of Shakespeare, one after the other, each a document of its own."""
    raw = frozen.text("tinyshakespeare")[skip : skip + rows * context]
    return batch(torch.frombuffer(bytearray(raw), dtype=torch.uint8).long().view(rows, context))


class Witness:
    """The composition that a run of EXPERIMENT under a plant's overrides builds, with all weights drawn anew, since
    outputs that begin at zero would hide most cheats; rows of the run's context, and others. `Plant.seen` names a
    method. What moves is told in nats of a chunk or token. folder: where the experiment's file may stand.
    """

    def __init__(self, registry: Registry, plant: Plant, folder: Path) -> None:
        path = folder / "planted.yaml"
        path.write_text(EXPERIMENT, encoding="utf-8")
        overrides = Tree()
        for key, value in plant.overrides.items():
            overrides.put(key, value, "plant")
        resolved = resolve(load_experiment(str(path)), "local_ar", overrides, registry)
        self.choice = resolved.composition(_VOCAB, _ILLEGAL)
        self.model: LatentModel = compose(registry, self.choice).eval()
        if plant.drawn:
            randomise_(self.model, seed=0)
        self.last, self.context, self.ratio = plant.last, resolved.data.context, self.model.ratio
        self.rows = text(_ROWS, self.context)
        self.strange = text(_ROWS, self.context, skip=1 << 16)
        self.half = torch.arange(self.context) < self.context // 2

    def nats(self, rows: Rows) -> Tensor:
        """Of each chunk [B, N], as evaluation counts them."""
        with torch.no_grad():
            return _primary(self.model.score(rows, last=self.last)[1]).nats

    def score(self) -> float:
        """How far the nats of a row's chunks, up to and with one, move when the model has read other text from that one
        on. They are those of the true chunk, for which a latent that has seen its chunk's own text moves, too."""
        far, head = 0.0, self.model.head
        for changed, chunk in self._changed():
            with torch.no_grad():
                x, likelihoods = self.model.score(self.rows, last=self.last)
                read = replace(self.model.score(changed, last=self.last)[0], chunk=x.chunk)
                moved = (_primary(head.likelihoods(read)).nats - _primary(likelihoods).nats).abs()
            far = max(far, float(moved[torch.arange(moved.shape[1]) <= chunk].max()))
        return far

    def forward(self) -> float:
        """How far training's nats of the chunks before one move, under autograd."""
        far, model = 0.0, self.model.train()
        for changed, chunk in self._changed():
            pair = [model(r, progress=0.9, step=3, seed=0, last=self.last).nats.detach() for r in (self.rows, changed)]
            moved = (pair[1] - pair[0]).abs()
            far = max(far, float(moved[torch.arange(moved.shape[1]) < chunk].max()))
        model.eval()
        return far

    def company(self) -> float:
        """How far the text of the other rows moves a row's nats."""
        others = replace(self.rows, tokens=torch.cat([self.rows.tokens[:1], self.strange.tokens[1:]]))
        return float((self.nats(self.rows) - self.nats(others))[0].abs().max())

    def end(self) -> float:
        """How far the nats of the first half of each row move when the second half is not there."""
        short = replace(self.rows, ok=self.rows.ok & self.half)
        return float((self.nats(self.rows) - self.nats(short))[:, : self.context // self.ratio // 2].abs().max())

    def twice(self) -> float:
        """How far the second half of a row, as it was evaluated first, moves the nats of its first half."""
        found = []
        for tokens in (self.rows.tokens, torch.where(self.half, self.rows.tokens, self.strange.tokens)):
            self.nats(replace(self.rows, tokens=tokens))
            found.append(self.nats(self.rows)[:, : self.context // self.ratio // 2])
        return float((found[0] - found[1]).abs().max())

    def total(self) -> float:
        """|1 - total probability| of the outcomes of the last chunk's first slot, by what each is said to cost."""
        legal = torch.tensor([i for i in range(_VOCAB) if i not in _ILLEGAL])
        tokens = self.rows.tokens[:1].repeat(len(legal), 1)
        tokens[:, -self.ratio] = legal
        with torch.no_grad():
            nats = _slots(self.model.score(batch(tokens), last=self.last)[1])[:, -1, 0]
        return abs(1 - float(torch.exp(-nats.double()).sum()))

    def cached(self) -> float:
        """How far the nats of tokens by `peek` are from the score's: three chunks of each row, after prompts that end
        at different places of the row and of a chunk."""
        model, every = self.model, torch.arange(_ROWS)
        with torch.no_grad():
            slots = _slots(model.score(self.rows, last=self.last)[1]).flatten(1)
        lengths = every * self.context // _ROWS + every
        state, far = prefill(model, self.rows.tokens, lengths, last=self.last), 0.0
        for _ in range(3 * self.ratio):
            token = self.rows.tokens[every, state.count]
            nats = -peek(model, state).log_softmax(-1)[every, token]
            far = max(far, float((nats - slots[every, state.count]).abs().max()))
            state = push(model, state, token, torch.ones(_ROWS, dtype=torch.bool))
        return far

    def targets(self) -> float:
        """The share of real tokens that are not scored."""
        return 1 - float(self.model.score(self.rows, last=self.last)[0].ok.sum() / self.rows.ok.sum())

    def _changed(self) -> Iterator[tuple[PlainRows, Tensor]]:
        """The rows with other text from the beginning of a chunk of each on, and that chunk [B, 1]."""
        for offset in range(3):
            chunk = (torch.arange(_ROWS)[:, None] * 3 + offset + 1) * (self.context // self.ratio) // (3 * _ROWS + 1)
            before = torch.arange(self.context) < chunk * self.ratio
            yield replace(self.rows, tokens=torch.where(before, self.rows.tokens, self.strange.tokens)), chunk


def _primary(likelihoods: Mapping[str, Likelihood]) -> Likelihood:
    return next(value for value in likelihoods.values() if value.primary)


def _slots(likelihoods: Mapping[str, Likelihood]) -> Tensor:
    """Nats of each token [B, N, R]."""
    slots = _primary(likelihoods).slots
    assert slots is not None
    return slots
