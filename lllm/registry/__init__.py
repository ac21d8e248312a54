"""What a part is, how it registers, where parts are found, and errors that help.

A part is one file with one decorated class::

    @register("mixer", "my_idea", version=1, refs=["arXiv:2312.06635"])
    class MyIdea(Mixer):
        class Config(PartConfig):
            heads: int = 4

Nothing here imports torch: kinds are open, and the contract class of a kind carries its name in `kind`.
"""

from lllm.registry.build import Build
from lllm.registry.catalogue import PartSpec, Registry
from lllm.registry.config import Names, Node, PartConfig, Search, search_space
from lllm.registry.discovery import load_registry
from lllm.registry.part import Entry, Part, register

__all__ = [
    "Build",
    "Entry",
    "Names",
    "Node",
    "Part",
    "PartConfig",
    "PartSpec",
    "Registry",
    "Search",
    "load_registry",
    "register",
    "search_space",
]
