"""`Part`, the root of every contract, and `@register`, the one decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lllm.registry.config import PartConfig

if TYPE_CHECKING:
    from lllm.registry.build import Build

__all__ = ["HOMES", "Part", "PartInfo", "part_info", "register"]

# The section in which each of the platform's own kinds stands; '' is the top of a file. All others are in `model`.
HOMES: Mapping[str, str] = {
    "tokenizer": "",
    "corpus": "",
    "objective": "train",
    "optimizer": "train",
    "schedule": "train",
    "adapter": "train",
    "launcher": "run",
}
_OPEN = ("model", "train", "run")  # sections that take kinds of which the platform knows nothing


class Part:
    """Root of the contract classes. A contract sets `kind`; a part adds `Config` and what the contract asks for.

    section: of a file, in which the kind stands: `model`, `train`, or `run` for what only says how a run is executed
    and never enters an identity.
    conformance: a new kind's own suite, (registry, entry) -> failures; see `lllm.check.suite`.
    """

    kind: ClassVar[str]
    section: ClassVar[str] = "model"
    conformance: ClassVar[Callable[..., Any] | None] = None
    Config: ClassVar[type[PartConfig]] = PartConfig

    def __init__(self, config: PartConfig, build: Build) -> None:
        """build: how to build another part by name, and what else there is beyond the part's own config."""
        self.config = config

    @classmethod
    def examples(cls) -> Sequence[Mapping[str, Any]]:
        """Small configurations under which the part is checked: the first gives what has no default, the others are
        further ones worth checking."""
        return ({},)


@dataclass(frozen=True)
class PartInfo:
    """What the decorator was told. `version` is raised when a default or a meaning changes, never for a new option."""

    kind: str
    name: str
    version: int
    refs: tuple[str, ...]


T = TypeVar("T", bound=type[Part])


def register(kind: str, name: str, *, version: int = 1, refs: Sequence[str] = ()) -> Callable[[T], T]:
    """Make the decorated class the part `name` of `kind`.

    The class is only marked: the loader that executes the file collects it, so that importing one has no global effect.

    Raises:
        TypeError: the class does not implement the contract of `kind`, or not all of it; its Config is not a
            PartConfig, or the kind cannot stand in its section.
    """

    def mark(cls: T) -> T:
        if not (isinstance(cls, type) and issubclass(cls, Part)):
            raise TypeError(f"@register({kind!r}, {name!r}): {cls!r} is not a class derived from a part contract")
        declared = getattr(cls, "kind", None)
        if declared != kind:
            raise TypeError(f"@register({kind!r}, {name!r}): {cls.__name__} implements the contract of {declared!r}")
        if inspect.isabstract(cls):
            raise TypeError(f"@register({kind!r}, {name!r}): {_missing(cls)}")
        homes = [HOMES[kind]] if kind in HOMES else _OPEN
        if cls.section not in homes:
            raise TypeError(
                f"@register({kind!r}, {name!r}): {cls.__name__}.section is {cls.section!r}; expected "
                + " or ".join(map(repr, homes))
            )
        if not issubclass(cls.Config, PartConfig):
            raise TypeError(f"@register({kind!r}, {name!r}): {cls.__name__}.Config must derive from PartConfig")
        if not name.isidentifier():
            raise TypeError(f"@register({kind!r}, {name!r}): a name has letters, digits and underscores only")
        cls.__part__ = PartInfo(kind, name, version, tuple(refs))  # type: ignore[attr-defined]
        return cls

    return mark


def _missing(cls: type[Part]) -> str:
    """What an abstract class lacks, and the contract that asks for it."""
    methods = sorted(getattr(cls, "__abstractmethods__", ()))
    contract = next(base for base in cls.__mro__ if any(method in vars(base) for method in methods))
    return f"{cls.__name__} does not define {', '.join(methods)}, which its contract {contract.__name__} asks for"


def part_info(cls: type) -> PartInfo | None:
    """The mark of `cls` itself; a subclass of a part is not a part until it is registered."""
    info = vars(cls).get("__part__")
    return info if isinstance(info, PartInfo) else None
