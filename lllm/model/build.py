"""The build context of model parts: what they may need beyond their own config and the means to build another part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from lllm.model.unembedding import Unembedding
from lllm.registry import Build as AnyBuild

__all__ = ["Build"]


@dataclass(frozen=True)
class Build(AnyBuild):
    """Handed to the constructor of every model part: `Part(config, build)`.

    width: of the rate at which the part runs (D for trunk parts). token_width: d. layer, depth: executed index and
    count. unique, uniques: index and count of layers with weights of their own (equal to those where none runs twice).
    used: every part built so far, whose files make the code fingerprint of the run. made: what is shared, at any width.
    """

    width: int
    token_width: int
    ratio: int
    vocab: int
    illegal: tuple[int, ...]
    layer: int = 0
    depth: int = 1
    unique: int = 0
    uniques: int = 1
    shared: dict[str, nn.Module] = field(default_factory=dict)
    made: list[tuple[str, nn.Module]] = field(default_factory=list)

    def part(self, kind: str, node: str | Mapping[str, Any] | None = None) -> Any:
        """Build a part of `kind`: the one that `node` names, or the composition's own; a new one at every call."""
        return self.of(self.spec(kind, node))

    def at_layer(self, layer: int, depth: int, unique: int | None = None, uniques: int | None = None) -> Build:
        """The same context for executed layer `layer` of `depth`, whose weights are number `unique` of `uniques`."""
        unique, uniques = layer if unique is None else unique, uniques or depth
        return replace(self, layer=layer, depth=depth, unique=unique, uniques=uniques)

    def at_width(self, width: int) -> Build:
        """The same context for parts that run at another width (a local model inside a head): what layers share is
        shared among those of one width."""
        return replace(self, width=width, shared={})

    def using(self, kind: str, node: str | Mapping[str, Any]) -> Build:
        """The same context in which the composition's part of `kind` is the one that `node` names."""
        return replace(self, parts={**self.parts, kind: self.spec(kind, node)})

    def share(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        """An object shared by layers, made once. Layers keep no submodule of it: whoever runs them registers
        nn.ModuleDict(build.shared) after building them, as the shipped trunks do; else the model is refused."""
        if name not in self.shared:
            self.shared[name] = make()
            self.made.append((name, self.shared[name]))
        return self.shared[name]

    def unembedding(self, width: int) -> Unembedding:
        """A new unembedding from `width`, with the tokenizer's illegal outcomes masked."""
        return Unembedding(width, self.vocab, self.illegal)
