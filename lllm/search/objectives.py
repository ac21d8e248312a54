"""What a search looks for: names of metrics, each with the direction that is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lllm.config import Resolved
from lllm.config.schema import SPEEDS, Decide
from lllm.data import Corpus
from lllm.errors import UserError, nearest
from lllm.model.contracts import Head
from lllm.search.studies import Direction
from lllm.search.trials import number_of

__all__ = ["USUAL", "Objective", "objectives"]

# numbers of every result, and which of two is better
_DIRECTIONS: Mapping[str, Direction] = {
    "bpb": "minimize",
    "bpb_text": "minimize",
    "nats_per_byte": "minimize",
    "parameters": "minimize",
    "train_flops_per_byte": "minimize",
    "train_flops": "minimize",
    "seconds": "minimize",
    **dict.fromkeys(SPEEDS, "maximize"),
}
USUAL = ("bpb", "train_flops", "generation_bytes_per_second")
_WORDS: Mapping[str, Direction] = {"lower": "minimize", "higher": "maximize"}


@dataclass(frozen=True)
class Objective:
    """A metric, and which of two values is better."""

    name: str
    direction: Direction

    @property
    def better(self) -> str:
        """'lower' or 'higher'."""
        return "lower" if self.direction == "minimize" else "higher"

    def value(self, result: Mapping[str, Any]) -> float:
        """Of a result; a UserError where it has none."""
        return number_of(result, self.name)

    def small(self, value: float) -> float:
        """The same with smaller being better."""
        return value if self.direction == "minimize" else -value


def objectives(names: Sequence[str], resolved: Iterable[Resolved], rule: Decide) -> tuple[Objective, ...]:
    """The objectives of these names, each NAME or NAME:lower or NAME:higher. resolved: compositions that a search may
    set out from; rule: of the experiment.

    Raises:
        UserError: no result has such a metric, one is named twice, or it is not known which direction is better.
    """
    every = list(resolved)
    known = {**_DIRECTIONS, rule.metric: _WORDS[rule.better]}
    found: list[Objective] = []
    for text in names:
        name, _, word = text.strip().partition(":")
        if word and word not in _WORDS:
            raise UserError(f"objective '{text}': expected {name}:lower or {name}:higher")
        if name in known:
            direction = _WORDS[word] if word else known[name]
        elif not any(map(_measures_more, every)):
            raise UserError(f"objective '{name}': the results have no such metric{nearest(name, known)}")
        elif not word:
            raise UserError(f"objective '{name}': which is better is not known; expected {name}:lower or {name}:higher")
        else:
            direction = _WORDS[word]
        if any(name == other.name for other in found):
            raise UserError(f"objective '{name}': given twice; expected it once")
        found.append(Objective(name, direction))
    return tuple(found)


def _measures_more(resolved: Resolved) -> bool:
    """Whether the corpus or the head measures anything of its own; what it is called is known after a run only."""
    corpus, head = resolved.corpus.entry.cls, resolved.parts["head"].entry.cls
    return getattr(corpus, "metrics", None) is not Corpus.metrics or getattr(head, "metrics", None) is not Head.metrics
