"""A document as ids and per-token columns, and whether the ids are its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lllm.data.contracts import Document, Ids, Tokenizer

__all__ = ["Columns", "flaw", "ids_of", "rows_of"]

Columns = Mapping[str, NDArray[np.float32]]


def ids_of(document: Document, tokenizer: Tokenizer) -> Ids:
    """Ids [n] of the document's bytes, without EOS; no token reaches over the edge of an unscored span."""
    edges = sorted({0, len(document.raw), *(edge for span in document.unscored for edge in span)})
    pieces = [tokenizer.encode(document.raw[a:b]) for a, b in pairwise(edges)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def rows_of(document: Document, ids: Ids, tokenizer: Tokenizer, multiple: int) -> tuple[NDArray[Any], Columns]:
    """The ids as shards have them, with EOS where the document ends and padded to `multiple`, and per-token columns
    aligned with them: 1 for EOS, 0 for padding."""
    if document.ended:
        ids = np.append(ids, tokenizer.eos)
    sizes = tokenizer.bytes_per_token[ids]
    columns = {name: _per_token(values, sizes) for name, values in document.columns.items()}
    if document.unscored:
        scored = np.ones(len(document.raw), dtype=np.float32)
        for start, stop in document.unscored:
            scored[start:stop] = 0
        columns["scored"] = _per_token(scored, sizes)
    short = -len(ids) % multiple
    ids = np.concatenate([ids, np.full(short, tokenizer.pad)])
    dtype = np.uint16 if tokenizer.vocab <= 1 << 16 else np.uint32
    return ids.astype(dtype), {name: np.pad(values, (0, short)) for name, values in columns.items()}


def flaw(tokenizer: Tokenizer, raw: bytes, ids: Ids) -> str:
    """How ids [n] of `raw` are not its bytes: what they decode to, or how many bytes they are said to be; '' when they
    are right."""
    back = tokenizer.decode(ids)
    if back != raw:
        at = next((i for i, (a, b) in enumerate(zip(raw, back, strict=False)) if a != b), min(len(raw), len(back)))
        return f"decode(encode(raw)) differs at byte {at}: {raw[at : at + 12]!r} became {back[at : at + 12]!r}"
    sizes = tokenizer.bytes_per_token[ids]
    for i in np.sort(np.unique(ids, return_index=True)[1]):  # each id where it comes first
        there = tokenizer.decode(ids[i : i + 1])
        if len(there) != sizes[i] or not there:
            return (
                f"byte {len(tokenizer.decode(ids[:i]))}: id {ids[i]} decodes to {there!r}, and bytes_per_token says "
                f"{sizes[i]} bytes; expected at least one byte, and as many as are said"
            )
    return ""


def _per_token(values: NDArray[np.float32], sizes: Ids) -> NDArray[np.float32]:
    """Mean over each token's bytes; 1 for tokens that have none (EOS)."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    ends = np.cumsum(sizes)
    sums = total[ends] - total[ends - sizes]
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), 1.0).astype(np.float32)
