"""The build context: how a part builds another one by name, and whose mistake it is when a constructor raises."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any

from lllm.errors import BuildError, UserError
from lllm.registry.catalogue import Entry, PartSpec, Registry

__all__ = ["Build", "place_of"]


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
def _blamed(entry: Entry) -> Iterator[None]:
    """Name the part, file and line of what its constructor raises; a part within a part is named itself."""
    try:
        yield
    except (UserError, BuildError):
        raise
    except (Exception, SystemExit) as error:  # a stranger's part may raise anything at all
        place = place_of(error, [entry.path])
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BuildError(f"{entry.kind} '{entry.name}' ({place}): {what}") from error
