"""The conformance suite: what every part promises, tested on composed models with weights drawn anew.

It knows nothing of any part but what the part declares, and bounds what is declared from outside.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Failure", "NotTested", "Verdict"]


@dataclass(frozen=True)
class Failure:
    """One contract that is not kept. where: the part or composition; seed: the draw that shows it, where there is one;
    message: what a part's author needs to know."""

    where: str
    test: str
    message: str
    seed: int | None = None


@dataclass(frozen=True)
class NotTested:
    """A contract that a test cannot put to this part, because of what the part declares."""

    why: str


Verdict = str | NotTested | None
"""Why a test fails, why it does not apply, or nothing: it passes."""
