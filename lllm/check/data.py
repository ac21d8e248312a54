"""Suites of the kinds before the model: tokenizer and corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from lllm.data.contracts import Corpus, Document, Split, Tokenizer
from lllm.data.overlap import Overlap
from lllm.data.tokens import flaw

__all__ = ["corpus", "tokenizer"]

_DOCUMENTS = 2000  # of each split, where there are more
_SHARED = 0.01  # share of the validation bytes that may also stand in training: licences, empty stubs


def tokenizer(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    """Exact round trip on any bytes, honest sizes, sane specials. Yields (test, why it fails)."""
    part = make()
    assert isinstance(part, Tokenizer)
    sizes = np.asarray(part.bytes_per_token)
    special = {part.eos, part.pad, *part.illegal}
    if not all(0 <= i < part.vocab for i in special):
        yield "specials", f"eos, pad and illegal are ids below vocab = {part.vocab}; found {sorted(special)}"
        return
    if part.eos == part.pad or part.eos in part.illegal or part.pad not in part.illegal:
        yield "specials", "eos must differ from pad and be legal, because it is predicted; pad must be illegal"
    if sizes.shape != (part.vocab,) or not np.issubdtype(sizes.dtype, np.integer) or (sizes < 0).any():
        yield "bytes_per_token", f"expected {part.vocab} integers of at least 0; found {sizes.dtype} {sizes.shape}"
        return
    if sizes[sorted(special)].any():
        yield "bytes_per_token", "specials stand for no bytes"
    if part.decode([part.eos]) or part.decode([part.pad]):
        yield "round trip", "specials decode to nothing"
    for raw in _texts():
        ids = part.encode(raw)
        shown = repr(raw[:24])
        if special & set(map(int, ids)):
            yield "specials", f"encode gives a special for {shown}; EOS and padding are added by the platform"
            return
        if wrong := flaw(part, raw, ids):
            yield (
                "bytes_per_token" if part.decode(ids) == raw else "round trip",
                f"of {shown}, {len(raw)} bytes: {wrong}",
            )
            return
        if part.decode([int(i) for i in ids]) != raw:
            yield "round trip", f"decode gives something else for a list of ints than for an array; text: {shown}"
            return


def corpus(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    """Documents of both splits in a fixed order and apart from one another, and their digest. `make()` builds one."""
    one, other = make(), make()
    assert isinstance(one, Corpus)
    if one.digest() != other.digest() or not one.digest():
        yield "digest", "two instances of one configuration have different digests"
    if not one.describe().strip():
        yield "describe", "says nothing; expected one line on how the corpus was made"
    kept: dict[Split, list[bytes]] = {"train": [], "valid": []}
    for split, texts in kept.items():
        documents = list(islice(one.documents(split), _DOCUMENTS))
        again = list(islice(other.documents(split), _DOCUMENTS))
        if not documents:
            yield "documents", f"there are none for {split}"
        if [d.raw for d in documents] != [d.raw for d in again]:
            yield "documents", f"those of {split} come in another order, or differ, in a second instance"
        for document in documents:
            wrong = _document(document)
            if wrong:
                yield "documents", f"of {split}: {wrong}"
                return
            texts.append(document.raw)
    overlap = Overlap(map(Document, kept["valid"]))
    for raw in kept["train"]:
        overlap.search(raw)
    both = sum(len(raw) for raw in kept["valid"] if overlap.inside(raw))
    if both > _SHARED * max(1, sum(map(len, kept["valid"]))):
        yield "splits", f"{both} bytes of validation are in documents more than half of which is in training"


def _document(document: Document) -> str | None:
    size = len(document.raw)
    if not isinstance(document.raw, bytes) or not size:
        return "a document holds no bytes; leave empty ones out"
    if any(not 0 <= start < stop <= size for start, stop in document.unscored):
        return f"an unscored span lies outside of its document of {size} bytes"
    wrong = [name for name, column in document.columns.items() if len(column) != size]
    return f"column '{wrong[0]}' has not one number per byte" if wrong else None


def _texts() -> Iterator[bytes]:
    """What has broken tokenizers: nothing, every byte, broken UTF-8, composed and decomposed letters, line ends."""
    yield from (b"", b"\0", b" ", b"\r\n\n\r", b"\xff\xfe", b"\xe2\x82", bytes(range(256)), b"a" * 4097)
    yield from (text.encode() for text in ("e\u0301 \u00e9", "\u200b\ufeff", "\U0001f469\u200d\U0001f680", "\t  x "))
    yield from (b"<|endoftext|>", b"<s></s>[PAD][MASK]", b"\xed\xa0\x80")
    random = np.random.Generator(np.random.PCG64(0))
    for size in (1, 2, 3, 17, 256, 4096):
        yield random.integers(0, 256, size, dtype=np.uint8).tobytes()
        yield random.integers(32, 127, size, dtype=np.uint8).tobytes()
