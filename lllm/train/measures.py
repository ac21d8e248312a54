"""What a corpus and a head measure beside nats: sums over all evaluated documents, and the numbers they come to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.data.contracts import Corpus, Scored
from lllm.errors import UserError
from lllm.model.contracts import Head, Hidden, Likelihood
from lllm.model.contracts.base import part_name
from lllm.registry import Part

__all__ = ["Measures", "greedy", "refuse_unmeasurable", "rows_at_once"]

_LOGITS = 1 << 27  # of a call for greedy predictions, which holds those of every token of its rows


class Measures:
    """Sums that batches add to, in float64: [sum, weight] of every metric of the corpus, then of the head."""

    def __init__(self, corpus: Corpus | None, head: Head, device: torch.device) -> None:
        self.corpus, self.head, self.device = corpus, head, device
        self.parts: list[Corpus | Head] = [head] if corpus is None else [corpus, head]
        self.sums: dict[Part, dict[str, Tensor]] = {}

    def add(self, x: Hidden, batch: Batch, ok: Tensor, size: Tensor, likelihoods: Mapping[str, Likelihood]) -> None:
        """Rows that the model scored. ok [B, N, R]: the tokens that count; size [B, N, R]: their bytes."""
        if self.corpus is not None:
            scored = Scored(
                chunk=x.chunk,
                ok=ok,
                bytes=size,
                columns={name: column.view(ok.shape) for name, column in batch.columns.items()},
                nats=_nats(likelihoods, ok),
                greedy=greedy(self.head, x) if self.corpus.greedy else None,
            )
            self._add(self.corpus, self.corpus.metrics(scored), len(ok))
        self._add(self.head, self.head.metrics(replace(x, ok=ok)), len(ok))

    def _add(self, owner: Part, found: Mapping[str, tuple[Tensor, Tensor]], rows: int) -> None:
        if owner not in self.sums:
            self.sums[owner] = {n: torch.zeros(2, dtype=torch.float64, device=self.device) for n in sorted(found)}
        held = self.sums[owner]
        if held.keys() != found.keys():  # ranks could not add up what only some of them have
            raise TypeError(
                f"{_named(owner)}: metrics gives {sorted(found)} for some rows and {sorted(held)} for others; expected "
                "the same names for any rows"
            )
        for name, pair in found.items():
            shapes = [tuple(tensor.shape) for tensor in pair]
            if shapes != [(rows,), (rows,)]:
                raise TypeError(
                    f"{_named(owner)}: metric '{name}' has shapes {shapes}; expected a sum and a weight of {rows} rows"
                )
            held[name] += torch.stack([tensor.double().sum() for tensor in pair])

    def all(self) -> list[Tensor]:
        """Every tensor, for a sum over ranks."""
        return [pair for held in self.sums.values() for pair in held.values()]

    def finish(self) -> dict[str, float | None]:
        """The reported numbers, None where nothing was weighed.

        Raises:
            TypeError: the corpus and the head report one name.
        """
        found = [part.conclude_metrics(_means(self.sums.get(part, {}))) for part in self.parts]
        twice = sorted(name for name, count in Counter(chain(*found)).items() if count > 1)
        if twice:
            both = " and ".join(map(_named, self.parts))
            raise TypeError(f"metric '{twice[0]}': {both} both report it; expected another name of one of them")
        values = {name: value for numbers in found for name, value in numbers.items()}
        return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}

    def broken(self) -> str | None:
        """The first metric whose sum or weight is not a number."""
        every = [item for held in self.sums.values() for item in held.items()]
        return next((name for name, pair in every if not bool(torch.isfinite(pair).all())), None)


def greedy(head: Head, x: Hidden) -> Tensor:
    """Ids [B, N, R]: of each slot the likeliest, by the conditional by which the head draws it, given the true tokens
    of the slots that it draws before."""
    which = head.drawn()
    logits = head.conditionals(x, which)
    found = {item[0]: logits[item].argmax(-1) for item in which}
    return torch.stack([found[slot] for slot in range(head.ratio)], -1)


def refuse_unmeasurable(corpus: Corpus, head: Head) -> None:
    """Raises UserError where the corpus reads greedy predictions and the head has none."""
    if corpus.greedy and not head.categorical:
        raise UserError(
            f"{_named(corpus)}: it measures greedy predictions, and {_named(head)} has no categorical conditionals; "
            "expected a head that has them, or a corpus that measures none"
        )


def rows_at_once(corpus: Corpus | None, batch: Batch, vocab: int) -> int:
    """How many rows of a batch are scored together: all, unless greedy predictions would need too many logits."""
    if corpus is None or not corpus.greedy:
        return len(batch)
    return max(1, _LOGITS // (batch.tokens.shape[1] * vocab))


def _nats(likelihoods: Mapping[str, Likelihood], ok: Tensor) -> Tensor | None:
    """Of the primary likelihood, where it is one and per token."""
    primary = next(likelihood for likelihood in likelihoods.values() if likelihood.primary)
    return None if primary.kind == "none" or primary.slots is None else primary.slots * ok


def _means(sums: Mapping[str, Tensor]) -> dict[str, float]:
    pairs = {name: pair.tolist() for name, pair in sums.items()}
    return {name: total / weight if weight else math.nan for name, (total, weight) in pairs.items()}


def _named(part: Part) -> str:
    """As a message calls it."""
    return f"{part.kind} '{part_name(part)}'"
