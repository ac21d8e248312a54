"""T-PERT and T-LEN: nothing that a prediction may not see changes it. These see leaks that have no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from lllm.check.reading import asked, by_observed, name, prefixes, read, scored, seen
from lllm.check.subject import CHUNKS, ILLEGAL, LEGAL, Subject
from lllm.model import LatentModel
from lllm.model.contracts import Conditional

__all__ = ["length", "perturbation", "perturbation_in_training"]

_SAME_SHAPE = 1e-12  # relative to the largest answer: two calls of one shape differ by round-off only within a row
_OTHER_SHAPE = 1e-10
_DRAWS = 2


def perturbation(subject: Subject) -> str | None:
    """T-PERT: all forbidden tokens drawn anew, no answer of a target that carries loss moves."""
    return _perturbed(subject, train=False)


def perturbation_in_training(subject: Subject) -> str | None:
    """T-PERT in training mode, under one and the same noise."""
    model = subject.model
    model.train()
    try:
        return _perturbed(subject, train=True)
    finally:
        model.eval()


@torch.no_grad()
def _perturbed(subject: Subject, *, train: bool) -> str | None:
    model = subject.model
    length = CHUNKS * model.ratio
    chunks = length // model.head.ratio
    base = subject.tokens(1, length, "row")
    for prefix in prefixes(model, CHUNKS):
        targets = scored(model, chunks, prefix)
        rows = base.expand(len(targets), -1)
        given = torch.full((len(targets),), prefix)
        for observed, which in by_observed(asked(subject)).items():
            allowed = torch.stack([seen(model, c, observed, length) for c in targets])
            before = read(model, rows, given, which, train=train)
            for draw in range(_DRAWS):
                other = subject.tokens(len(targets), length, f"other {draw}")
                after = read(model, torch.where(allowed, rows, other), given, which, train=train)
                for item in which:
                    moved = _moved(before[item], after[item], targets)
                    if moved is not None:
                        chunk = targets[moved]
                        token = _culprit(model, base, prefix, item, chunk, allowed[moved], train)
                        return f"{token} changes {name(item, chunk)}, which may not depend on it" + _at(prefix)
    return None


@torch.no_grad()
def length(subject: Subject) -> str | None:
    """T-LEN: a row cut short, at any length, has the same answers as far as it goes."""
    model = subject.model
    longest = CHUNKS * model.ratio
    rows = subject.tokens(2, longest, "row")
    which = asked(subject)
    for prefix in prefixes(model, CHUNKS):
        given = torch.full((2,), prefix)
        whole = read(model, rows, given, which)
        targets = scored(model, longest // model.head.ratio, prefix)
        for cut in range(1, longest):
            short = _cut(model, rows, cut, given, which)
            for item in which:
                for chunk in targets:
                    needs = seen(model, chunk, item[1], longest)
                    inside = chunk * model.head.ratio + max(item[1], default=-1) < cut
                    if chunk >= short[item].shape[1] or not inside or bool(needs[cut:].any()):
                        continue
                    if _apart(short[item][:, chunk], whole[item][:, chunk]) > _OTHER_SHAPE:
                        return f"the row's length, {cut} or {longest}, changes {name(item, chunk)}" + _at(prefix)
    return None


def _cut(
    model: LatentModel, rows: Tensor, cut: int, prefix: Tensor, which: list[Conditional]
) -> dict[Conditional, Tensor]:
    """Answers for the first `cut` tokens; after whole chunks, of the next one too, of which nothing is known."""
    room = 0 if cut % model.ratio else model.ratio
    tokens = torch.cat([rows[:, :cut], torch.full((len(rows), room), ILLEGAL)], 1)
    return read(model, tokens, prefix, which, ok=(torch.arange(cut + room) < cut).expand_as(tokens))


def _moved(before: Tensor, after: Tensor, targets: list[int]) -> int | None:
    """The first row whose own target differs."""
    for row, chunk in enumerate(targets):
        if _apart(before[row, chunk], after[row, chunk]) > _SAME_SHAPE:
            return row
    return None


def _apart(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative where the values are large; NaN counts as far."""
    gap = (a - b).abs().max() / b.abs().max().clamp(min=1)
    return float("inf") if bool(torch.isnan(gap)) else float(gap)


def _culprit(
    model: LatentModel, base: Tensor, prefix: int, item: Conditional, chunk: int, allowed: Tensor, train: bool
) -> str:
    """The first single token that does it alone; some leaks (by selection) need several at once."""
    places = torch.nonzero(~allowed).flatten()
    for step in range(1, LEGAL):
        rows = base.repeat(len(places), 1)
        index = torch.arange(len(places))
        rows[index, places] = (rows[index, places] - 1 + step) % LEGAL + 1
        given = torch.full((len(places),), prefix)
        after = read(model, rows, given, [item], train=train)[item]
        before = read(model, base.repeat(len(places), 1), given, [item], train=train)[item]
        for row, place in enumerate(places.tolist()):
            if _apart(before[row, chunk], after[row, chunk]) > _SAME_SHAPE:
                return f"token {place}"
    return f"what comes from token {int(places[0])} on"


def _at(prefix: int) -> str:
    return f" (non-causal prefix of {prefix} chunks)" if prefix else ""
