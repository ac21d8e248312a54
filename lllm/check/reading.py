"""What a head can be asked, and its answers: the vocabulary of every leak test."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lllm.check.subject import Subject
from lllm.model import LatentModel
from lllm.model.contracts import Conditional

__all__ = ["HIDDEN", "asked", "name", "prefixes", "read"]

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


def read(model: LatentModel, tokens: Tensor, prefix: Tensor, which: Sequence[Conditional]) -> dict[Conditional, Tensor]:
    """Answers [B, N, ...] for rows of ids [B, T] to `which`, of which HIDDEN is the first; illegal ids are left out, so
    all are finite."""
    x = model.hidden(tokens, torch.ones_like(tokens, dtype=torch.bool), prefix)
    logits = model.head.conditionals(x, which[1:]) if len(which) > 1 else {}
    return {HIDDEN: x.hidden} | {item: logits[item][..., 1:-1] for item in which[1:]}


def prefixes(model: LatentModel, chunks: int) -> list[int]:
    """The values of M worth trying in rows of `chunks` complete chunks."""
    return list(range(min(3, chunks) + 1 if model.visibility.noncausal_region else 1))


def name(item: Conditional, chunk: int) -> str:
    """A conditional in words."""
    if item == HIDDEN:
        return f"the latent that predicts chunk {chunk}"
    given = f" given slots {', '.join(map(str, sorted(item[1])))}" if item[1] else ""
    return f"the logits of slot {item[0]} of chunk {chunk}{given}"
