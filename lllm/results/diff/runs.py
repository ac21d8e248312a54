"""What sets two runs apart, or a run and its variant as defined now: config, code, data, environment, result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lllm.results.diff.code import Drifted, drifted
from lllm.results.diff.curves import Curves, curves
from lllm.results.diff.documents import Documented, documented
from lllm.results.diff.side import Side, inner, some
from lllm.results.records import differences
from lllm.results.run import Run

__all__ = ["Difference", "diff", "diff_now"]

_RUN = ("arm", "seed", "steps", "budget", "sizes", "kernels", "git")
_RESULT = ("bpb", "kind", "likelihood", "parameters", "train_flops_per_byte", "train_bytes")


@dataclass(frozen=True)
class Difference:
    """Section -> entries {"path", "a", "b"}; an entry lacks the side that has no such path. No sections: the same.

    code: what changed in the source of parts whose digests differ; now: b is what a's place would be trained as now,
    and has no results.
    """

    a: str
    b: str
    sections: Mapping[str, Sequence[dict[str, Any]]]
    code: tuple[Drifted, ...] = ()
    documents: Documented | None = None
    curves: Curves | None = None
    now: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def diff(a: Run, b: Run, *, docs: bool = False, curves: bool = False) -> Difference:
    """What differs between two runs, finished or not.

    Raises:
        UserError: a file that is needed is missing or damaged.
    """
    return Difference(
        a.name,
        b.name,
        _sections(Side.of(a), Side.of(b), (_result(a), _result(b))),
        drifted(Side.of(a), Side.of(b)),
        documented(a, b) if docs else None,
        _curves(a, b) if curves else None,
    )


def diff_now(run: Run, now: Side) -> Difference:
    """What differs between a run and what would be trained in its place now, as far as `now` knows it.

    Raises:
        UserError: run.json is missing or damaged.
    """
    then = Side.of(run)
    return Difference(run.name, now.name, _sections(then, now), drifted(then, now), now=True)


def _sections(
    a: Side, b: Side, results: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
) -> dict[str, Sequence[dict[str, Any]]]:
    """The sections that differ. Of a side that is only defined, what it does not know is no difference."""
    known = _RUN if b.path else [key for key in _RUN if key in b.info]
    compared: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "config": (inner(a.info, "config", "semantic"), inner(b.info, "config", "semantic")),
        "parts": (_parts(a), _parts(b)),
        "fingerprints": (inner(a.info, "fingerprints"), inner(b.info, "fingerprints")),
        "execution": (inner(a.info, "config", "execution"), inner(b.info, "config", "execution")),
        "run": (some(a.info, known), some(b.info, known)),
        "environment": (inner(a.info, "environment"), inner(b.info, "environment")),
        "result": results,
    }
    if not b.path:
        unknown = {"execution"} | ({"environment"} - b.info.keys())
        compared = {name: sides for name, sides in compared.items() if name not in unknown}
    sections = {name: differences(*sides) for name, sides in compared.items()}
    return {name: found for name, found in sections.items() if found}


def _result(run: Run) -> dict[str, Any]:
    result = run.result or {}
    metrics = inner(result, "metrics")
    return {**some(result, _RESULT), **({"metrics": metrics} if metrics else {})}


def _parts(side: Side) -> dict[str, Any]:
    """Without the paths: where a file lies says nothing of what is in it."""
    return {name: some(part, ("digest", "version")) for name, part in side.parts.items()}


def _curves(a: Run, b: Run) -> Curves:
    return curves(a.metrics(), b.metrics())
