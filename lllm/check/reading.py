"""What a head can be asked, what it may see, and its answers: the vocabulary of every leak test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lllm.check.subject import Subject
from lllm.model import LatentModel
from lllm.model.contracts import Conditional

__all__ = ["HIDDEN", "asked", "fresh", "name", "prefixes", "read", "scored", "seen"]

HIDDEN: Conditional = (-1, frozenset())
"""The latent that a head is given, asked for as if it were a conditional: what every head has, categorical or not."""

_MOST = 40  # conditionals per seed; a head that lists hundreds is asked a different sample under each seed


def asked(subject: Subject, most: int = _MOST) -> list[Conditional]:
    """HIDDEN and the head's table, or a sample of it that holds at least the conditionals by which it draws."""
    head = subject.model.head
    table = list(dict.fromkeys(head.table())) if head.categorical else []
    if len(table) > most:
        drawn = [(k, head.observed(k, frozenset(range(k)))) for k in range(head.ratio)]
        order = torch.randperm(len(table), generator=subject.random("table")).tolist()
        table = list(dict.fromkeys([*(item for item in drawn if item in table), *(table[i] for i in order)]))[:most]
    return [HIDDEN, *table]


def read(
    model: LatentModel,
    tokens: Tensor,
    prefix: Tensor,
    which: Sequence[Conditional],
) -> dict[Conditional, Tensor]:
    """Answers [B, N, ...] for rows of ids [B, T] or one-hot [B, T, V]; illegal ids are left out, so all are finite."""
    x = model.hidden(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), prefix)
    answers = {HIDDEN: x.hidden}
    wanted = [item for item in which if item != HIDDEN]
    if wanted:
        logits = model.head.conditionals(x, wanted)
        answers |= {item: logits[item][..., 1:-1] for item in wanted}
    return {item: answers[item] for item in which}


def seen(model: LatentModel, chunk: int, observed: Iterable[int], length: int) -> Tensor:
    """[T] bool: the tokens that a conditional of `chunk` may depend on, whatever any part declares."""
    allowed = torch.arange(length) < chunk * model.head.ratio
    for slot in observed:
        if chunk * model.head.ratio + slot < length:
            allowed[chunk * model.head.ratio + slot] = True
    return allowed


def fresh(model: LatentModel, item: Conditional, chunk: int, starts: Sequence[int], prefix: int) -> list[int]:
    """The newest tokens that a conditional of `chunk` must depend on. starts: first token of the chunk of latents to
    which each of the head's chunks belongs."""
    ratio = model.head.ratio
    if item == HIDDEN:
        newest = prefix * model.ratio if chunk < prefix else starts[chunk]
        return [newest - 1] if newest and not model.downsampler.drops_latents else []
    wanted = [chunk * ratio + slot for slot in sorted(item[1])]
    direct = model.head.wants_tokens or not model.downsampler.drops_latents
    return wanted + ([chunk * ratio - 1] if chunk and direct else [])


def prefixes(model: LatentModel, chunks: int) -> list[int]:
    """The values of M worth trying in rows of `chunks` complete chunks."""
    if not model.visibility.noncausal_region:
        return [0]
    return [m for m in (0, 1, 2, 3) if m <= chunks]


def scored(model: LatentModel, chunks: int, prefix: int) -> list[int]:
    """The head's chunks that carry loss, as the visibility declares it."""
    of = torch.arange(chunks) * model.head.ratio // model.ratio
    return torch.nonzero(model.visibility.loss(of, torch.tensor(prefix)).expand(chunks)).flatten().tolist()


def name(item: Conditional, chunk: int) -> str:
    """A conditional in words."""
    if item == HIDDEN:
        return f"the latent that predicts chunk {chunk}"
    given = f" given slots {', '.join(map(str, sorted(item[1])))}" if item[1] else ""
    return f"the logits of slot {item[0]} of chunk {chunk}{given}"
