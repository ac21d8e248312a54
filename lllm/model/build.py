"""The build context: what a part may need beyond its own config, and how it builds another part by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import extract_tb
from typing import Any

from torch import nn

from lllm.errors import UserError
from lllm.model.unembedding import Unembedding
from lllm.registry import Entry, PartSpec, Registry

__all__ = ["Build", "BuildError", "place_of"]


class BuildError(Exception):
    """A part's constructor raised what is no UserError: its own mistake. The message says which, where and what."""


def place_of(error: BaseException, files: Collection[Path]) -> str:
    """FILE:LINE of the innermost frame of an error that is in one of `files`, else of the innermost of all."""
    frames = extract_tb(error.__traceback__)
    inner = next((frame for frame in reversed(frames) if Path(frame.filename) in files), frames[-1])
    return f"{inner.filename}:{inner.lineno}"


@dataclass(frozen=True)
class Build:
    """Handed to the constructor of every model part: `Part(config, build)`.

    width: of the rate at which the part runs (D for trunk parts). token_width: d. layer, depth: executed index and
    count. unique: index of the layer's own weights (equal to `layer` where nothing is shared). used: every part built
    so far, whose files make the code fingerprint of the run.
    """

    registry: Registry
    parts: Mapping[str, PartSpec]
    width: int
    token_width: int
    ratio: int
    vocab: int
    illegal: tuple[int, ...]
    layer: int = 0
    depth: int = 1
    unique: int = 0
    shared: dict[str, nn.Module] = field(default_factory=dict)
    used: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def part(self, kind: str, node: str | Mapping[str, Any] | None = None) -> Any:
        """Build a part of `kind`: the one that `node` names, or the composition's own."""
        if node is not None:
            spec = self.registry.config(kind, node, f"model.{kind}")
        elif kind in self.parts:
            spec = self.parts[kind]
        else:
            raise UserError(f"model.{kind}: this composition needs a {kind} and names none")
        self.used[spec.kind, spec.name] = spec.entry
        with _blamed(spec.entry):
            return spec.entry.cls(spec.config, self)  # type: ignore[call-arg]

    def at_layer(self, layer: int, depth: int, unique: int | None = None) -> Build:
        """The same context for executed layer `layer` of `depth`."""
        return replace(self, layer=layer, depth=depth, unique=layer if unique is None else unique)

    def at_width(self, width: int) -> Build:
        """The same context for parts that run at another width (a local model inside a head): what layers share is
        shared among those of one width."""
        return replace(self, width=width, shared={})

    def using(self, kind: str, node: str | Mapping[str, Any]) -> Build:
        """The same context in which the composition's part of `kind` is the one that `node` names."""
        spec = self.registry.config(kind, node, f"model.{kind}")
        return replace(self, parts={**self.parts, kind: spec})

    def share(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        """An object shared by layers, made once. The trunk registers `shared` once; layers keep no submodule of it."""
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    def unembedding(self, width: int) -> Unembedding:
        """A new unembedding from `width`, with the tokenizer's illegal outcomes masked."""
        return Unembedding(width, self.vocab, self.illegal)


@contextmanager
def _blamed(entry: Entry) -> Iterator[None]:
    """Name the part, file and line of what its constructor raises; a part within a part is named itself."""
    try:
        yield
    except (UserError, BuildError):
        raise
    except (Exception, SystemExit) as error:  # a stranger's part may raise anything at all
        place = place_of(error, [entry.path])
        raise BuildError(f"{entry.kind} '{entry.name}' ({place}): {type(error).__name__}: {error}") from error
