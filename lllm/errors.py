"""Errors that a user can act on: one sentence, the value, what was expected, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["EXIT_CODE", "INTERRUPTED", "BuildError", "UserError", "nearest"]

EXIT_CODE = 2
INTERRUPTED = 130  # the exit code after Ctrl-C
_LISTED = 12  # more names than this are a wall, not a hint


class UserError(Exception):
    """Input that cannot be honoured. The command line prints the message without a traceback and exits with code 2."""


class BuildError(Exception):
    """A part's constructor raised what is no UserError: its own mistake. The message says which, where and what."""


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint to append to a message about an unknown `name`: the closest of `options`, or a short list of all."""
    known = sorted(set(options))
    if not known:
        return "; there are none"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    shown = ", ".join(known[:_LISTED])
    return f"; valid: {shown}" + (", ..." if len(known) > _LISTED else "")
