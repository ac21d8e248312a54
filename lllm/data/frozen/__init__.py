"""Two public-domain texts that travel with the package, so that committed studies can be repeated anywhere."""

from __future__ import annotations

import lzma
from pathlib import Path

__all__ = ["NAMES", "text"]

_HERE = Path(__file__).parent
NAMES = tuple(sorted(path.name.removesuffix(".txt.xz") for path in _HERE.glob("*.txt.xz")))


def text(name: str) -> bytes:
    """The bytes of the frozen text `name`, one of NAMES."""
    return lzma.decompress((_HERE / f"{name}.txt.xz").read_bytes())
