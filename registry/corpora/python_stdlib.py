"""Text that every machine already has: the source of Python's standard library."""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lllm.data.contracts import Corpus, Document, Split
from lllm.errors import UserError
from lllm.registry import PartConfig, register

_LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idlelib", "lib2to3", "turtledemo"}
_LEFT_OUT |= {"encodings", "__phello__"}  # files that are copies of one another but for a table or a name


@register("corpus", "python_stdlib", version=2)
class PythonStdlib(Corpus):
    """The standard library of the running interpreter, without its tests. A document is a file; files whose hashed
    content falls below `valid` are validation, so that copies are on one side. The digest names the Python version."""

    class Config(PartConfig):
        """valid: share of files held out. max_bytes: longer files are left out (generated tables)."""

        valid: Annotated[float, Field(gt=0, lt=1)] = 0.1
        max_bytes: Annotated[int, Field(ge=1)] = 200_000

    @cached_property
    def _files(self) -> list[tuple[str, bytes]]:
        root = Path(sysconfig.get_path("stdlib"))
        config: Any = self.config
        names: list[str] = []
        for folder, below, files in os.walk(root):  # what is left out is not even walked through
            below[:] = [name for name in below if name not in _LEFT_OUT]
            inside = os.path.relpath(folder, root).replace(os.sep, "/")
            names += [name if inside == "." else f"{inside}/{name}" for name in files if name.endswith(".py")]
        found = []
        for name in sorted(names, key=lambda name: name.split("/")):
            raw = (root / name).read_bytes()
            if 0 < len(raw) <= config.max_bytes:
                found.append((name, raw))
        if not found:
            raise UserError(f"corpus python_stdlib: no source files below {root}; expected the standard library's .py")
        return found

    def documents(self, split: Split) -> Iterator[Document]:
        config: Any = self.config
        for _, raw in self._files:
            share = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big") / 2**64
            if (share < config.valid) == (split == "valid"):
                yield Document(raw)

    def digest(self) -> str:
        config: Any = self.config
        state = hashlib.blake2b(repr((config.valid, config.max_bytes)).encode(), digest_size=16)
        for name, raw in self._files:
            state.update(f"{name}\0{len(raw)}\0".encode() + raw)
        return f"python-{platform.python_version()}-{state.hexdigest()}"

    def describe(self) -> str:
        return f"standard library of Python {platform.python_version()}, {len(self._files)} files, without tests"
