"""Any text file or folder, or a frozen text by name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lllm.data import frozen
from lllm.data.contracts import Corpus, Document, Split
from lllm.errors import UserError, nearest
from lllm.registry import PartConfig, register


def _from_here(path: str) -> str:
    """One spelling of a path, links resolved, relative to the working directory where it lies below it."""
    if path in frozen.NAMES:
        return path
    absolute, here = os.path.realpath(path), os.path.realpath(os.getcwd())
    return os.path.relpath(absolute, here) if absolute.startswith(here + os.sep) else absolute


def _is_text(raw: bytes) -> bool:
    """No NUL byte, and hardly any that are not UTF-8: text in an old encoding passes, an image does not."""
    strange = raw[:65536].decode("utf-8", "replace").count("\ufffd")
    return b"\0" not in raw and strange <= len(raw[:65536]) // 4


@register("corpus", "text")
class TextCorpus(Corpus):
    """The first `split` of the text's bytes is training, the rest validation, as in nanoGPT's character data."""

    located_by = ("path",)

    class Config(PartConfig):
        """path: a file, a folder (every file below it, by name), or a frozen text: tinyshakespeare, state_union.
        document: what one is: a whole file, a paragraph, or 2 or 16 KB. split: training's share of the bytes."""

        path: Annotated[str, AfterValidator(_from_here)] = "tinyshakespeare"
        document: Literal["file", "blank_line", "2KB", "16KB"] = "file"
        split: Annotated[float, Field(gt=0, lt=1)] = 0.9

    @cached_property
    def _texts(self) -> list[bytes]:
        config: Any = self.config
        if config.path in frozen.NAMES:
            return [frozen.text(config.path)]
        path = Path(config.path)
        if not path.exists():
            raise UserError(f"corpus.path = '{path}': no such file or folder{nearest(config.path, frozen.NAMES)}")
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        try:
            texts = [file.read_bytes() for file in files]
        except OSError as error:
            raise UserError(f"corpus.path = '{path}': cannot be read ({error.strerror})") from None
        for file, raw in zip(files, texts, strict=True):
            if not _is_text(raw):
                raise UserError(f"corpus.path = '{path}': {file.name} is binary; expected text files only")
        if sum(map(len, texts)) < 64:
            raise UserError(f"corpus.path = '{path}': {sum(map(len, texts))} bytes; expected at least 64")
        return texts

    def documents(self, split: Split) -> Iterator[Document]:
        config: Any = self.config
        left = int(sum(map(len, self._texts)) * config.split)
        for raw in self._texts:
            here = raw[:left] if split == "train" else raw[left:]
            left = max(0, left - len(raw))
            yield from (Document(piece) for piece in self._pieces(here) if piece)

    def _pieces(self, raw: bytes) -> list[bytes]:
        config: Any = self.config
        if config.document == "blank_line":
            return re.split(rb"(?<=\n\n)(?!\n)", raw)  # the blank line stays with its paragraph: no byte is lost
        if config.document.endswith("KB"):
            size = 1024 * int(config.document[:-2])
            return [raw[i : i + size] for i in range(0, len(raw), size)]
        return [raw]

    def digest(self) -> str:
        config: Any = self.config
        state = hashlib.blake2b(repr((config.document, config.split)).encode(), digest_size=16)
        for raw in self._texts:
            state.update(len(raw).to_bytes(8, "little") + raw)
        return state.hexdigest()

    def describe(self) -> str:
        config: Any = self.config
        return f"{config.path}, documents by {config.document}, first {config.split:.0%} for training"
