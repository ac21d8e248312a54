"""Direct witnesses of cheating: a composition at a run's size, randomised, and a number that is 0 where it is honest.

None of them is the probe: each looks only for the fault that its plant is said to have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lllm.check.subject import randomise_
from lllm.config import Resolved, load_experiment, resolve
from lllm.config.tree import Tree
from lllm.data import frozen
from lllm.model import Composition, LatentModel, compose
from lllm.model.contracts import Likelihood, Rows
from lllm.model.incremental import peek, prefill, push
from lllm.registry import Registry
from tests.plants import EXPERIMENT, Plant

__all__ = ["WITNESSES", "Text", "choice_of", "model_of", "text"]

_ROWS = 6
_VOCAB, _ILLEGAL = 261, (256, 258, 259, 260)


@dataclass(frozen=True)
class Text:
    """Rows of a batch: see `lllm.model.contracts.Rows`."""

    tokens: Tensor
    ok: Tensor
    segment: Tensor

    @property
    def rows(self) -> Tensor:
        return torch.arange(len(self.tokens))

    @property
    def prompt(self) -> Tensor:
        return torch.zeros(len(self.tokens), dtype=torch.long)


def text(rows: int, context: int, skip: int = 0) -> Text:
    """Rows of Shakespeare, one after the other, each of document 1 + its number."""
    raw = frozen.text("tinyshakespeare")[skip : skip + rows * context]
    tokens = torch.frombuffer(bytearray(raw), dtype=torch.uint8).long().view(rows, context)
    segment = torch.arange(1, rows + 1)[:, None].expand(rows, context)
    return Text(tokens, torch.ones_like(tokens, dtype=torch.bool), segment)


def model_of(registry: Registry, plant: Plant, folder: Path, *, seed: int = 0) -> tuple[LatentModel, int]:
    """The composition that a run of EXPERIMENT under the plant's overrides builds, in evaluation mode and with all
    weights drawn anew, since outputs that begin at zero would hide it; and the run's context."""
    resolved = _resolved(registry, plant, folder)
    model = compose(registry, resolved.composition(_VOCAB, _ILLEGAL)).eval()
    randomise_(model, seed)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() == 2:
                tensor.mul_(plant.grown)
    return model, resolved.data.context


def choice_of(registry: Registry, plant: Plant, folder: Path) -> Composition:
    """What `model_of` composes."""
    return _resolved(registry, plant, folder).composition(_VOCAB, _ILLEGAL)


def _resolved(registry: Registry, plant: Plant, folder: Path) -> Resolved:
    path = folder / "planted.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    overrides = Tree()
    for key, value in plant.overrides.items():
        overrides.put(key, value, "plant")
    return resolve(load_experiment(str(path)), "local_ar", overrides, registry)


def score(model: LatentModel, batch: Rows, last: Mapping[str, float]) -> Tensor:
    """Nats of each chunk [B, N] as evaluation counts them."""
    with torch.no_grad():
        return _primary(model.score(batch, last=last)[1]).nats


def _primary(likelihoods: Mapping[str, Likelihood]) -> Likelihood:
    return next(value for value in likelihoods.values() if value.primary)


def _other_text(model: LatentModel, context: int) -> Iterator[tuple[Text, Text, Tensor]]:
    """Rows, the same with other text from the beginning of a chunk of each on, and that chunk [B, 1]."""
    batch, other = text(_ROWS, context), text(_ROWS, context, skip=1 << 16)
    for offset in range(3):
        chunk = (torch.arange(_ROWS)[:, None] * 3 + offset + 1) * (context // model.ratio) // (3 * _ROWS + 1)
        behind = torch.arange(context) >= chunk * model.ratio
        yield batch, replace(batch, tokens=torch.where(behind, other.tokens, batch.tokens)), chunk


def seen_by_score(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """How far the nats of a row's chunks, up to and with one, move when the model has read other text from that one on.
    They are those of the true chunk, or the newest one's could not be told from its own text."""
    far = 0.0
    for batch, changed, chunk in _other_text(model, context):
        with torch.no_grad():
            x, likelihoods = model.score(batch, last=last)
            y, _ = model.score(changed, last=last)
            moved = _primary(likelihoods).nats - _primary(model.head.likelihoods(replace(y, chunk=x.chunk))).nats
        far = max(far, float(moved.abs()[torch.arange(moved.shape[1]) <= chunk].max()))
    return far


def seen_by_forward(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """How far training's nats of the chunks before one move, under autograd."""
    model.train()
    far = 0.0
    for batch, changed, chunk in _other_text(model, context):
        nats = [model(one, progress=0.9, step=3, seed=0, last=last).nats.detach() for one in (batch, changed)]
        far = max(far, float((nats[0] - nats[1]).abs()[torch.arange(nats[0].shape[1]) < chunk].max()))
    return far


def rows(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """How far the text of the other rows moves a row's nats."""
    batch, other = text(_ROWS, context), text(_ROWS, context, skip=1 << 16)
    changed = replace(batch, tokens=torch.cat([batch.tokens[:1], other.tokens[1:]]))
    return float((score(model, batch, last) - score(model, changed, last))[0].abs().max())


def end(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """How far the nats of the first half of each row move when the second half is not there."""
    batch = text(_ROWS, context)
    half = replace(batch, ok=batch.ok & (torch.arange(context) < context // 2))
    return float((score(model, batch, last) - score(model, half, last))[:, : context // model.ratio // 2].abs().max())


def twice(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """How far the later text of an earlier evaluation moves the nats of chunks before it."""
    batch, other = text(_ROWS, context), text(_ROWS, context, skip=1 << 16)
    behind = torch.arange(context) >= context // 2
    found = []
    for first in (batch, replace(batch, tokens=torch.where(behind, other.tokens, batch.tokens))):
        score(model, first, last)
        found.append(score(model, batch, last))
    return float((found[0] - found[1])[:, : context // model.ratio // 2].abs().max())


def total(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """|1 - total probability| of the outcomes of the last chunk's first slot, by what each is said to cost."""
    legal = torch.tensor([i for i in range(_VOCAB) if i not in _ILLEGAL])
    one = text(1, context)
    tokens = one.tokens.repeat(len(legal), 1)
    tokens[:, -model.ratio] = legal
    every = Text(tokens, one.ok.expand_as(tokens), one.segment.expand_as(tokens))
    with torch.no_grad():
        slots = _primary(model.score(every, last=last)[1]).slots
    assert slots is not None
    return abs(1 - float(torch.exp(-slots[:, -1, 0].double()).sum()))


def cached(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """How far the nats of a token by `peek`, after every prompt of whole chunks, are from its score's; prompts of
    different lengths side by side, so that their latents are complete at the same pushes."""
    batch, n = text(_ROWS, context), context // model.ratio
    with torch.no_grad():
        slots = _primary(model.score(batch, last=last)[1]).slots
        assert slots is not None
        chunks = torch.arange(_ROWS) * n // _ROWS
        lengths = chunks * model.ratio + torch.arange(_ROWS) % model.ratio
        state = prefill(model, batch.tokens, lengths, last=last)
        far = 0.0
        for _ in range(3 * model.ratio):
            at = state.count
            token = batch.tokens[torch.arange(_ROWS), at]
            nats = -peek(model, state).log_softmax(-1)[torch.arange(_ROWS), token]
            far = max(far, float((nats - slots.flatten(1)[torch.arange(_ROWS), at]).abs().max()))
            state = push(model, state, token, torch.ones(_ROWS, dtype=torch.bool))
    return far


def targets(model: LatentModel, context: int, last: Mapping[str, float]) -> float:
    """The share of real tokens that are not scored."""
    batch = text(_ROWS, context)
    with torch.no_grad():
        x, _ = model.score(batch, last=last)
    return 1 - float(x.ok.sum() / batch.ok.sum())


WITNESSES: Mapping[str, Callable[[LatentModel, int, Mapping[str, float]], float]] = {
    "score": seen_by_score,
    "forward": seen_by_forward,
    "rows": rows,
    "end": end,
    "twice": twice,
    "total": total,
    "cached": cached,
    "targets": targets,
}
