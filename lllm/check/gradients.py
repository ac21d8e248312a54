"""T-JAC and T-FRESH: no derivative where a target may not look, one where it must."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lllm.check.reading import HIDDEN, asked, fresh, name, prefixes, read, scored, seen
from lllm.check.subject import CHUNKS, Subject
from lllm.model import Context, LatentModel
from lllm.model.contracts import Conditional

__all__ = ["freshness", "jacobian"]

_ZERO = 1e-12  # relative to the largest derivative of the same answer, in float64


@dataclass(frozen=True)
class _Gradient:
    """size [N, T]: largest |d answer of chunk c / d token t| over a random direction of the answer, relative to the
    largest of any chunk and token: a convolution by FFT rounds where it is 0."""

    item: Conditional
    prefix: int
    size: Tensor


def jacobian(subject: Subject) -> str | None:
    """T-JAC: d logits / d (one-hot token) is 0, but for rounding, at every forbidden token of a target that carries
    loss."""
    model = subject.model
    length = CHUNKS * model.ratio
    for found in _gradients(subject):
        for chunk in scored(model, len(found.size), found.prefix):
            leaks = torch.nonzero(~seen(model, chunk, found.item[1], length) & (found.size[chunk] > _ZERO)).flatten()
            if len(leaks):
                return f"token {int(leaks[0])} has a gradient in {name(found.item, chunk)}, which may not depend on it"
    return None


def freshness(subject: Subject) -> str | None:
    """T-FRESH: the newest tokens that a target may see do reach it: nothing is shifted further than needed."""
    model = subject.model
    for found in _gradients(subject):
        starts = _starts(subject)
        for chunk in range(len(found.size)):
            for token in fresh(model, found.item, chunk, starts, found.prefix):
                if not found.size[chunk, token] > _ZERO:
                    return f"token {token}, which {name(found.item, chunk)} may and should see, has no gradient in it"
    return None


def _gradients(subject: Subject) -> list[_Gradient]:
    """One backward pass per conditional: row c of the batch asks for chunk c only."""
    if "gradients" not in subject.kept:
        subject.kept["gradients"] = [
            found for prefix in prefixes(subject.model, CHUNKS) for found in _of_prefix(subject, prefix)
        ]
    kept = subject.kept["gradients"]
    assert isinstance(kept, list)
    return kept


def _of_prefix(subject: Subject, prefix: int) -> list[_Gradient]:
    model = subject.model
    length = CHUNKS * model.ratio
    chunks = length // model.head.ratio
    which = asked(subject)
    ids = subject.tokens(1, length, "row").expand(chunks, -1)
    leaf = F.one_hot(ids, model.vocab).double().requires_grad_()
    answers = read(model, leaf, torch.full((chunks,), prefix), which)
    own = torch.arange(chunks)
    found = []
    for item in which:
        mine = answers[item][own, own].flatten(1)
        direction = torch.randn(mine.shape, generator=subject.random(f"direction {item}"), dtype=torch.float64)
        grads = torch.autograd.grad((mine * direction).sum(), leaf, retain_graph=True, allow_unused=True)
        grad = torch.zeros_like(leaf) if grads[0] is None else grads[0]  # tokens that enter past every TokenTable
        size = grad.abs().amax(-1)
        found.append(_Gradient(item, prefix, size / size.max().clamp(min=1e-300)))
    return found


def _starts(subject: Subject) -> list[int]:
    """First token of the downsampler's chunk to which each of the head's chunks belongs."""
    model = subject.model
    length = CHUNKS * model.ratio
    every = range(0, length, model.head.ratio)
    if not model.downsampler.dynamic:
        return [t // model.ratio * model.ratio for t in every]
    owner = _owner(model, subject.tokens(1, length, "row"))
    return [owner.index(owner[t]) for t in every]


@torch.no_grad()
def _owner(model: LatentModel, tokens: Tensor) -> list[int]:
    ctx = Context.of(torch.ones_like(tokens, dtype=torch.bool), model.visibility)
    owner = model.downsampler(model.embedding(tokens, ctx)[0], ctx).owner
    assert owner is not None, f"{HIDDEN}: a dynamic downsampler gives owners"
    return [int(chunk) for chunk in owner[0]]
