"""The build context: how a part builds another one by name, and whose mistake it is when a constructor raises."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb, walk_tb
from typing import Any

from lllm.errors import BuildError, UserError
from lllm.registry.catalogue import PartSpec, Registry
from lllm.registry.part import Entry

__all__ = ["Build", "blaming", "place_of"]


def place_of(error: BaseException, files: Collection[Path]) -> str:
    """FILE:LINE of the innermost frame of an error that is in one of `files`, else of the innermost of all."""
    frames = extract_tb(error.__traceback__)
    inner = next((frame for frame in reversed(frames) if Path(frame.filename) in files), frames[-1])
    return f"{inner.filename}:{inner.lineno}"


@dataclass(frozen=True)
class Build:
    """Handed to the constructor of every part: `Part(config, build)`. Model parts get more: `lllm.model.Build`.

    parts: kind -> the part that the settings name. used: every part built so far. placed: those of `parts` that were.
    """

    registry: Registry
    parts: Mapping[str, PartSpec]
    used: dict[tuple[str, str], Entry] = field(default_factory=dict, kw_only=True)
    placed: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def part(self, kind: str, node: str | Mapping[str, Any] | None = None) -> Any:
        """A new part of `kind`, the one that `node` names; or the settings' own, which is one for all that ask.

        A part names those that it builds in its config, by fields annotated with `Names`: they are then validated with
        it, and an edit of their files makes its runs stale.

        Raises:
            UserError: there is no such part, or the settings name none. BuildError: its constructor raises.
        """
        if node is not None:
            return self.of(self.spec(kind, node))
        if kind not in self.placed:
            self.placed[kind] = self.of(self.spec(kind))
        return self.placed[kind]

    def spec(self, kind: str, node: str | Mapping[str, Any] | None = None) -> PartSpec:
        """The validated choice of a part of `kind`: the one that `node` names, or the settings' own."""
        place = self.registry.place(kind)
        if node is not None:
            return self.registry.config(kind, node, place)
        if kind not in self.parts:
            raise UserError(f"{place}: this composition needs a {kind} and names none")
        return self.parts[kind]

    def of(self, spec: PartSpec) -> Any:
        """A new part, from a validated choice."""
        self.used[spec.kind, spec.name] = spec.entry
        with _blamed(spec.entry):
            return spec.entry.cls(spec.config, self)


@contextmanager
def blaming(registry: Registry) -> Iterator[None]:
    """Name the part, file and line of what is raised by parts at work: counted, timed, asked for a command. For where
    there is no run yet that could be recorded as failed.

    Raises:
        UserError: what was raised, in one sentence; without a part where none was at work.
    """
    try:
        yield
    except UserError:
        raise
    except BuildError as error:
        raise UserError(str(error)) from error
    except (Exception, SystemExit) as error:  # a stranger's part may raise anything at all
        entry = _at_work(error, registry)
        what = f"{_what(error)} ({place_of(error, [])})" if entry is None else _blame(error, entry)
        raise UserError(what) from error


@contextmanager
def _blamed(entry: Entry) -> Iterator[None]:
    """Name the part, file and line of what its constructor raises; a part within a part is named itself."""
    try:
        yield
    except (UserError, BuildError):
        raise
    except (Exception, SystemExit) as error:  # a stranger's part may raise anything at all
        raise BuildError(_blame(error, entry)) from error


def _blame(error: BaseException, entry: Entry) -> str:
    """KIND 'NAME' (FILE:LINE): what was raised. The line is the innermost in the part's file, else the class's own."""
    file = _file(entry)
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename) == file]
    with suppress(OSError, TypeError):  # a class that was typed somewhere has no line
        lines = lines or [inspect.getsourcelines(entry.cls)[1]]
    return f"{entry.kind} '{entry.name}' ({file}{f':{lines[-1]}' if lines else ''}): {_what(error)}"


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _at_work(error: BaseException, registry: Registry) -> Entry | None:
    """The part whose method, or in whose file, the innermost such frame of an error is."""
    entries = registry.of(registry.kinds())
    files = [(str(_file(entry)), entry) for entry in entries]
    frames = [frame for frame, _ in walk_tb(error.__traceback__)][::-1]
    selves = [type(frame.f_locals.get("self")) for frame in frames]
    for frame, cls in zip(frames, selves, strict=True):
        own = [entry for entry in entries if entry.cls is cls]
        here = own or [entry for file, entry in files if file == frame.f_code.co_filename]
        if here:  # of several parts in one file the one whose class it is in, or one that was at work
            within = [entry for entry in here if frame.f_code.co_qualname.startswith(f"{entry.cls.__qualname__}.")]
            return (within or [entry for entry in here if entry.cls in selves] or here)[0]
    return None


def _file(entry: Entry) -> Path:
    """The file of a part's class; one that was typed somewhere has none."""
    try:
        return Path(inspect.getfile(entry.cls))
    except (OSError, TypeError):
        return entry.path
