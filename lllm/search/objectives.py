"""What a search looks for: names of metrics, each with the direction that is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lllm.config import Resolved
from lllm.config.schema import SPEEDS, Decide
from lllm.data import Corpus
from lllm.errors import UserError, nearest
from lllm.model.contracts import Head
from lllm.search.studies import Direction

__all__ = ["USUAL", "Objective", "objectives"]

Better = Literal["lower", "higher"]

_BETTER: Mapping[str, Better] = {  # which of two numbers is, of every result's
    **dict.fromkeys(("bpb", "bpb_text", "nats_per_byte", "parameters"), "lower"),
    **dict.fromkeys(("train_flops_per_byte", "train_flops", "seconds"), "lower"),
    **dict.fromkeys(SPEEDS, "higher"),
}
USUAL = ("bpb", "train_flops", "generation_bytes_per_second")
_WORDS: Mapping[str, Better] = {"lower": "lower", "higher": "higher"}


@dataclass(frozen=True)
class Objective:
    """A metric, and which of two values is better."""

    name: str
    better: Better

    @property
    def direction(self) -> Direction:
        return "minimize" if self.better == "lower" else "maximize"

    def value(self, result: Mapping[str, Any]) -> float:
        """Of a result: one of its own fields, or one of the corpus or the head. Raises UserError where it has
        none of that name, or no finite one."""
        metrics = result.get("metrics")
        value = result.get(self.name, metrics.get(self.name) if isinstance(metrics, Mapping) else None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"metric '{self.name}': {value!r} in the results of this run; expected a number")
        return float(value)

    def small(self, value: float) -> float:
        """The same with smaller being better."""
        return value if self.better == "lower" else -value


def objectives(names: Sequence[str], resolved: Iterable[Resolved], rule: Decide) -> tuple[Objective, ...]:
    """The objectives of these names, each NAME or NAME:lower or NAME:higher. resolved: compositions that a search may
    set out from; rule: of the experiment. Raises UserError where no result has such a metric, one is named twice, or it
    is not known which direction is better."""
    every = list(resolved)
    known = {**_BETTER, rule.metric: rule.better}
    found: list[Objective] = []
    for text in names:
        name, _, word = text.strip().partition(":")
        if word and word not in _WORDS:
            raise UserError(f"objective '{text}': expected {name}:lower or {name}:higher")
        if name not in known:
            if not any(map(_measures_more, every)):
                raise UserError(f"objective '{name}': the results have no such metric{nearest(name, known)}")
            if not word:
                raise UserError(
                    f"objective '{name}': which is better is not known; expected {name}:lower or {name}:higher"
                )
        if any(name == other.name for other in found):
            raise UserError(f"objective '{name}': given twice; expected it once")
        found.append(Objective(name, _WORDS[word] if word else known[name]))
    return tuple(found)


def _measures_more(resolved: Resolved) -> bool:
    """Whether the corpus or the head measures anything of its own; what it is called is known after a run only."""
    corpus, head = resolved.corpus.entry.cls, resolved.parts["head"].entry.cls
    return getattr(corpus, "metrics", None) is not Corpus.metrics or getattr(head, "metrics", None) is not Head.metrics
