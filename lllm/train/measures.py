"""What a corpus and a head measure beside nats: sums over all evaluated documents, and the numbers they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.data.contracts import Corpus, Scored
from lllm.errors import UserError
from lllm.model.contracts import Head, Hidden, Likelihood
from lllm.registry import Part

__all__ = ["Measures", "greedy", "refuse_unmeasurable", "rows_at_once"]

_LOGITS = 1 << 27  # of a call for greedy predictions, which holds those of every token of its rows


class Measures:
    """Sums that batches add to, in float64: [sum, weight] of every metric of the corpus, then of the head."""

    def __init__(self, corpus: Corpus | None, head: Head, device: torch.device) -> None:
        self.corpus, self.head, self.device = corpus, head, device
        self.of_corpus: dict[str, Tensor] | None = None
        self.of_head: dict[str, Tensor] | None = None

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
            self.of_corpus = self._added(self.corpus, self.of_corpus, self.corpus.metrics(scored), len(ok))
        self.of_head = self._added(self.head, self.of_head, self.head.metrics(replace(x, ok=ok)), len(ok))

    def _added(
        self,
        owner: Part,
        held: dict[str, Tensor] | None,
        found: Mapping[str, tuple[Tensor, Tensor]],
        rows: int,
    ) -> dict[str, Tensor]:
        if held is None:
            held = {name: torch.zeros(2, dtype=torch.float64, device=self.device) for name in sorted(found)}
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
        return held

    def all(self) -> list[Tensor]:
        """Every tensor, for a sum over ranks."""
        return [*(self.of_corpus or {}).values(), *(self.of_head or {}).values()]

    def finish(self) -> dict[str, float | None]:
        """The reported numbers, None where nothing was weighed.

        Raises:
            TypeError: the corpus and the head report one name.
        """
        corpus = dict(self.corpus.conclude_metrics(_means(self.of_corpus))) if self.corpus is not None else {}
        head = dict(self.head.conclude_metrics(_means(self.of_head)))
        for name in sorted(corpus.keys() & head.keys()):
            assert self.corpus is not None
            raise TypeError(
                f"metric '{name}': {_named(self.corpus)} and {_named(self.head)} both report it; expected another name "
                "of one of them"
            )
        return {name: float(value) if math.isfinite(value) else None for name, value in (corpus | head).items()}

    def broken(self) -> str | None:
        """The first metric whose sum or weight is not a number."""
        every = {**(self.of_corpus or {}), **(self.of_head or {})}
        return next((name for name, pair in every.items() if not bool(torch.isfinite(pair).all())), None)


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


def _means(sums: Mapping[str, Tensor] | None) -> dict[str, float]:
    pairs = {name: pair.tolist() for name, pair in (sums or {}).items()}
    return {name: total / weight if weight else math.nan for name, (total, weight) in pairs.items()}


def _named(part: Part) -> str:
    """As a message calls it."""
    info = getattr(type(part), "__part__", None)
    return f"{part.kind} '{type(part).__name__ if info is None else info.name}'"
