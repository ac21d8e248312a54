"""Which validation documents training has: by hashes of 64-byte windows, searched for while training is tokenized."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lllm.data.contracts import Document

__all__ = ["WINDOW", "Overlap"]

WINDOW = 64  # bytes; a power of two, for hashes of 2, 4, 8, ... bytes are made of two halves
_BLOCK = 1 << 15  # places hashed together: their numbers stay in the cache
_TABLE = np.random.Generator(np.random.PCG64(0)).integers(0, 1 << 64, 256, np.uint64)
_BASE = 0x9E3779B97F4A7C15


class Overlap:
    """The windows of validation documents, and which of them training has at any place.

    A document is cut into windows of 64 bytes, the last one ending where it ends; one that is shorter is a window by
    itself, and equals only a whole document. Two windows are the same when their 64-bit hashes are: of n windows and m
    places of training the expected number that are confused is n m / 2**64 (0.001 for 1 GB of each), and half of a
    document's windows must be before anything is said of it.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        found = [_hashes(raw)[_places(raw)] for document in documents if (raw := _filled(document.raw))]
        self._known: NDArray[np.uint64] = np.unique(np.concatenate(found) if found else np.zeros(1, np.uint64))
        self._found = np.zeros(len(self._known), bool)
        bits = len(self._known).bit_length() + 4  # of each hash the upper ones say at once that most are unknown
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, bool)
        self._maybe[self._known >> self._shift] = True

    def search(self, raw: bytes) -> None:
        """Look for the windows in a training document, at every place."""
        text = _filled(raw)
        for start in range(0, len(text) - WINDOW + 1, _BLOCK):
            hashes = _hashes(text[start : start + _BLOCK + WINDOW - 1])
            hashes = hashes[self._maybe[hashes >> self._shift]]
            index = self._index(hashes)
            self._found[index[self._known[index] == hashes]] = True

    def inside(self, raw: bytes) -> bool:
        """Whether more than half of a validation document lies in windows that were found."""
        text = _filled(raw)
        places = _places(text)
        found = places[self._found[self._index(_hashes(text)[places])]] if text else places
        covered = np.zeros(len(text), bool)
        covered[found[:, None] + np.arange(WINDOW)] = True
        return 2 * int(covered.sum()) > len(text)

    def _index(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where each is among the known ones, or would be."""
        return np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1)


def _filled(raw: bytes) -> bytes:
    """At least a window long, unless there is nothing."""
    return raw.ljust(WINDOW, b"\0") if raw else raw


def _places(text: bytes) -> NDArray[np.int64]:
    """Where the windows of a document begin."""
    last = len(text) - WINDOW
    return np.unique(np.append(np.arange(0, last + 1, WINDOW), last)) if text else np.zeros(0, np.int64)


def _hashes(text: bytes) -> NDArray[np.uint64]:
    """Polynomial hashes, modulo 2**64, of the window at each place [len - 63]: every byte is a random number first."""
    hashes, size, base = _TABLE[np.frombuffer(text, np.uint8)], 1, _BASE
    while size < WINDOW:
        hashes = hashes[:-size] * np.uint64(base) + hashes[size:]
        size, base = 2 * size, base * base % (1 << 64)
    return hashes
