"""Bytes as tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lllm.data.contracts import Ids, Tokenizer
from lllm.registry import PartConfig, register


@register("tokenizer", "byte", refs=["arXiv:2105.13626"])
class ByteTokenizer(Tokenizer):
    """ids 0..255 are bytes; then BOS 256, EOS 257, PAD 258, MASK 259, SEP 260. No normalisation of any kind."""

    class Config(PartConfig):
        """No options."""

    vocab = 261
    eos, pad = 257, 258
    illegal = (256, 258, 259, 260)

    def encode(self, raw: bytes) -> Ids:
        return np.frombuffer(raw, dtype=np.uint8).astype(np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> bytes:
        array = np.asarray(ids, dtype=np.int64)
        return array[array < 256].astype(np.uint8).tobytes()

    @property
    def bytes_per_token(self) -> Ids:
        return (np.arange(self.vocab) < 256).astype(np.int64)
