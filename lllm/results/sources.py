"""results/EXPERIMENT/.sources/DIGEST.py: the source of every part that a run used, so that what changed can be shown.

A digest is that of a syntax tree: of files that differ in comments alone, the first one met is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.files import write_bytes

__all__ = ["keep_sources", "source_of"]

_FOLDER = ".sources"
_DIGEST = re.compile(r"[0-9a-f]{32}")  # what else a part may have for one is no name of a file, and of no file


def keep_sources(run: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep the source of each of `parts` (as run.json has them) beside the runs of the experiment of `run`.

    Best effort: a folder that may not be written to, or a file that is not there or was edited since it was loaded,
    costs a later comparison its lines, and the run nothing.
    """
    for part in parts.values():
        target = _kept(run, str(part.get("digest")))
        if target is not None and not target.is_file() and (text := _at(part)) is not None:
            with suppress(UserError, OSError):
                target.parent.mkdir(exist_ok=True)
                write_bytes(target, text.encode())


def source_of(run: Path | None, part: Mapping[str, Any]) -> str | None:
    """The source of a part: the one kept beside the run directory `run` (None: there is no run), or what is in the
    part's file where that has its digest; None where there is neither."""
    target = _kept(run, str(part.get("digest"))) if run is not None else None
    if target is not None:
        with suppress(OSError, UnicodeDecodeError):
            return target.read_text(encoding="utf-8")
    return _at(part)


def _kept(run: Path, digest: str) -> Path | None:
    """Where a source is kept: run directories are EXPERIMENT/VARIANT/ARM8/sSEED."""
    above = list(run.absolute().parents)[2:3]
    return above[0] / _FOLDER / f"{digest}.py" if above and _DIGEST.fullmatch(digest) else None


def _at(part: Mapping[str, Any]) -> str | None:
    """What is in the part's file, when it has the part's digest."""
    from lllm.registry.source import syntax_digest

    path, digest = part.get("path"), part.get("digest")
    with suppress(OSError, SyntaxError, ValueError):  # not there, or no Python any more
        text = Path(str(path)).read_text(encoding="utf-8") if path else ""
        return text if path and syntax_digest(text) == digest else None
    return None
