"""A run.json as one word of a command, for a run whose directory does not exist yet."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from lllm.errors import UserError

__all__ = ["INFO", "packed", "unpacked"]

INFO = "--info"  # the worker's option


def packed(info: Mapping[str, Any]) -> str:
    """The content of run.json as a word that no shell changes."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(info).encode(), 9)).decode()


def unpacked(word: str) -> dict[str, Any]:
    """The inverse of `packed`.

    Raises:
        UserError: the word was cut or changed.
    """
    try:
        info: dict[str, Any] = json.loads(zlib.decompress(base64.urlsafe_b64decode(word)))
    except (ValueError, zlib.error):
        raise UserError(f"{INFO} {word[:8]}...: damaged; expected the whole line that --dry-run printed") from None
    return info
