"""T-JAC and T-FRESH: which tokens move which answers: none that a target may not see, and the newest that it may."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lllm.check.reading import HIDDEN, asked, name, prefixes, read
from lllm.check.subject import CHUNKS, LEGAL, Subject
from lllm.model import Context, LatentModel
from lllm.model.contracts import Conditional

__all__ = ["freshness", "jacobian"]

_ZERO = 1e-10  # of the largest move of the same answer: a convolution by FFT rounds where it is 0


@dataclass(frozen=True)
class _Moves:
    """size [N, T]: by how much the answer of chunk c moves at most when token t is replaced by any other, relative to
    the largest of any chunk and token."""

    item: Conditional
    prefix: int
    size: Tensor


def jacobian(subject: Subject) -> str | None:
    """T-JAC: no forbidden token, replaced, moves an answer of a target that carries loss."""
    model, slots = subject.model, subject.model.head.ratio
    for found in _moves(subject):
        chunk, token = (torch.arange(size) for size in found.size.shape)
        loss = model.visibility.loss(chunk * slots // model.ratio, torch.tensor(found.prefix)).expand(len(chunk))
        observed = torch.tensor([slot in found.item[1] for slot in range(slots)])[token % slots]
        behind = token // slots - chunk[:, None]
        allowed = (behind < 0) | ((behind == 0) & observed)
        for c, t in torch.nonzero(loss[:, None] & ~allowed & (found.size > _ZERO)).tolist():
            return f"token {t} moves {name(found.item, c)}, which may not depend on it"
    return None


def freshness(subject: Subject) -> str | None:
    """T-FRESH: the newest tokens that a target may see do reach it: nothing is shifted further than needed."""
    model, starts = subject.model, _starts(subject)
    for found in _moves(subject):
        for chunk, size in enumerate(found.size):
            for token in _newest(model, found, chunk, starts[chunk]):
                if not size[token] > _ZERO:
                    return f"token {token}, which {name(found.item, chunk)} may and should see, does not move it"
    return None


def _newest(model: LatentModel, found: _Moves, chunk: int, start: int) -> list[int]:
    """The newest tokens on which an answer of `chunk` must depend; start: the first token of the chunk of latents to
    which the head's chunk belongs."""
    ratio, drops = model.head.ratio, model.downsampler.drops_latents
    if found.item == HIDDEN:
        newest = max(start, found.prefix * model.ratio)
        return [newest - 1] if newest and not drops else []
    wanted = [chunk * ratio + slot for slot in sorted(found.item[1])]
    return wanted + ([chunk * ratio - 1] if chunk and (model.head.wants_tokens or not drops) else [])


@lru_cache(maxsize=1)  # both tests ask, one after the other
@torch.no_grad()
def _moves(subject: Subject) -> list[_Moves]:
    """Of every answer and prefix: the row's tokens are replaced one at a time, each by every other legal id."""
    model, found = subject.model, []
    row = subject.tokens(1, CHUNKS * model.ratio, "row")
    every = torch.arange(row.shape[1])
    changed = row.expand(len(every), LEGAL - 1, -1).clone()
    changed[every, :, every] = (row[0, :, None] - 1 + torch.arange(1, LEGAL)) % LEGAL + 1
    tokens = torch.cat([row, changed.flatten(0, 1)])
    for prefix in prefixes(model, CHUNKS):
        for item, answer in read(model, tokens, torch.full((len(tokens),), prefix), asked(subject)).items():
            size = (answer[1:] - answer[0]).abs().amax(-1).view(len(every), LEGAL - 1, -1).amax(1).T
            found.append(_Moves(item, prefix, size / size.max().clamp(min=1e-300)))
    return found


@torch.no_grad()
def _starts(subject: Subject) -> list[int]:
    """First token of the downsampler's chunk to which each of the head's chunks belongs."""
    model = subject.model
    tokens = subject.tokens(1, CHUNKS * model.ratio, "row")
    owner = [t // model.ratio for t in range(tokens.shape[1])]
    if model.downsampler.dynamic:
        ctx = Context.of(torch.ones_like(tokens, dtype=torch.bool), model.visibility)
        found = model.downsampler(model.embedding(tokens, ctx)[0], ctx).owner
        assert found is not None, "a dynamic downsampler gives owners"
        owner = found[0].tolist()
    return [owner.index(owner[t]) for t in range(0, len(owner), model.head.ratio)]
