"""`Part`, the root of every contract, and `@register`, the one decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lllm.registry.config import PartConfig

if TYPE_CHECKING:
    from lllm.registry.build import Build

__all__ = ["HOMES", "Entry", "Part", "part_info", "register"]

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
class Entry:
    """One registered part, as `@register` marks its class; the last four are added by what loads its file.

    version: raised when a default or a meaning changes, never for a new option. digest: of the file's syntax tree, so
    that comments and docstrings do not count; imports: what its file executes beside itself (see
    `lllm.registry.source.executed`).
    """

    kind: str
    name: str
    cls: type[Part]
    version: int = 1
    refs: tuple[str, ...] = ()
    path: Path = Path()
    digest: str = ""
    source: str = "memory"
    imports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (self.cls.__doc__ or "").strip().split("\n")[0]


T = TypeVar("T", bound=type[Part])


def register(kind: str, name: str, *, version: int = 1, refs: Sequence[str] = ()) -> Callable[[T], T]:
    """Make the decorated class the part `name` of `kind`.

    The class is only marked: the loader that executes the file collects it, so that importing one has no global effect.

    Raises:
        TypeError: the class does not implement the contract of `kind`, or not all of it; its Config is not a
            PartConfig, or the kind cannot stand in its section.
    """

    def mark(cls: T) -> T:
        if problem := _problem(cls, kind, name):
            raise TypeError(f"@register({kind!r}, {name!r}): {problem}")
        cls.__part__ = Entry(kind, name, cls, version, tuple(refs))  # type: ignore[attr-defined]
        return cls

    return mark


def _problem(cls: Any, kind: str, name: str) -> str | None:
    """Why a class cannot be the part `name` of `kind`."""
    if not (isinstance(cls, type) and issubclass(cls, Part)):
        return f"{cls!r} is not a class derived from a part contract"
    declared = getattr(cls, "kind", None)
    if declared != kind:
        return f"{cls.__name__} implements the contract of {declared!r}"
    if inspect.isabstract(cls):
        methods = sorted(getattr(cls, "__abstractmethods__", ()))
        contract = next(base for base in cls.__mro__ if any(method in vars(base) for method in methods))
        return f"{cls.__name__} does not define {', '.join(methods)}, which its contract {contract.__name__} asks for"
    homes = [HOMES[kind]] if kind in HOMES else _OPEN
    if cls.section not in homes:
        return f"{cls.__name__}.section is {cls.section!r}; expected {' or '.join(map(repr, homes))}"
    config: Any = cls.Config
    if not issubclass(config, PartConfig):
        return f"{cls.__name__}.Config must derive from PartConfig"
    return None if name.isidentifier() else "a name has letters, digits and underscores only"


def part_info(cls: type) -> Entry | None:
    """The mark of `cls` itself; a subclass of a part is not a part until it is registered."""
    info = vars(cls).get("__part__")
    return info if isinstance(info, Entry) else None
