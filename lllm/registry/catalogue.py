"""The set of parts that a process has loaded, and the resolution of a config node into a validated part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lllm.errors import UserError, nearest
from lllm.registry.config import PartConfig, named_nodes, validate, with_nodes
from lllm.registry.part import HOMES, Entry, Part, part_info

__all__ = ["PartSpec", "Registry"]


@dataclass(frozen=True)
class PartSpec:
    """A part chosen by name with its validated config."""

    entry: Entry
    config: PartConfig

    @property
    def kind(self) -> str:
        return self.entry.kind

    @property
    def name(self) -> str:
        return self.entry.name

    def to_node(self) -> dict[str, Any]:
        """The node as it would be written out in full."""
        return {"use": self.name, **self.config.model_dump()}

    def delta(self) -> dict[str, Any]:
        """The node without the fields that equal their default: what enters an identity."""
        return {"use": self.name, **self.config.model_dump(exclude_defaults=True)}


@dataclass
class Registry:
    """Parts by kind and name. A name with two different contents is kept as a conflict, an error only when used."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    conflicts: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    failures: dict[Path, str] = field(default_factory=dict)
    replaced: dict[Path, Path] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Add a part; the same digest twice is one part. A kind stands in one section, the first that is told."""
        key = (entry.kind, entry.name)
        home = next((e for e in self.entries.values() if e.kind == entry.kind), entry)
        if home.cls.section != entry.cls.section:
            self.failures[entry.path] = (
                f"TypeError: its contract says that a {entry.kind} stands in '{entry.cls.section}', and that of "
                f"{home.path} in '{home.cls.section}'"
            )
            return
        known = self.entries.get(key)
        if known is None:
            self.entries[key] = entry
        elif known.digest != entry.digest or known.cls.__qualname__ != entry.cls.__qualname__:
            self.conflicts.setdefault(key, [known]).append(entry)

    def with_parts(self, *classes: type[Part]) -> Registry:
        """A copy with classes marked by @register added, replacing those of the same name: for tests and notebooks."""
        merged = Registry(dict(self.entries), dict(self.conflicts), dict(self.failures), dict(self.replaced))
        for cls in classes:
            info = part_info(cls)
            if info is None:
                raise TypeError(f"{cls.__name__} is not marked with @register")
            merged.entries[info.kind, info.name] = replace(info, digest=f"{cls.__module__}.{cls.__qualname__}")
        return merged

    def kinds(self) -> list[str]:
        """Kinds with at least one part."""
        return sorted({kind for kind, _ in self.entries})

    def names(self, kind: str) -> list[str]:
        """Names registered for `kind`."""
        return sorted(name for other, name in self.entries if other == kind)

    def find(self, name: str) -> list[Entry]:
        """Every part called `name`, or 'kind/name', of whatever kind."""
        return [e for e in self.entries.values() if name in (e.name, f"{e.kind}/{e.name}")]

    def get(self, kind: str, name: str, where: str = "") -> Entry:
        """The part `name` of `kind`.

        Raises:
            UserError: no such part (with the nearest name and the plugins that failed), or two that differ.
        """
        prefix = f"{where}: " if where else ""
        key = (kind, name)
        if key in self.conflicts:
            places = " and ".join(str(entry.path) for entry in self.conflicts[key])
            raise UserError(f"{prefix}{kind} '{name}' is registered twice with different content, in {places}")
        if key in self.entries:
            return self.entries[key]
        raise UserError(f"{prefix}unknown {kind} '{name}'{nearest(name, self.names(kind))}{self._failed()}")

    def config(self, kind: str, node: str | Mapping[str, Any], where: str) -> PartSpec:
        """Validate a config node: a name, or a mapping with `use` and fields. `where` is its dotted path."""
        if isinstance(node, str):
            node = {"use": node}
        if not isinstance(node, Mapping):
            raise UserError(f"{where} = {node!r}: expected the name of a {kind}, or a mapping with 'use'")
        fields = dict(node)
        name = fields.pop("use", None)
        if not isinstance(name, str):
            raise UserError(f"{where}: expected 'use: NAME', a {kind}{nearest(str(name), self.names(kind))}")
        entry = self.get(kind, name, where)
        return self.spec(entry, validate(entry.cls.Config, fields, where), where)

    def spec(self, entry: Entry, config: PartConfig, where: str) -> PartSpec:
        """The part with a validated config, in which the parts that it names are validated, too, and written in the
        shortest way: a name where everything is at its default.

        Raises:
            UserError: a part that the config names is unknown, or its fields are wrong.
        """

        def shortest(kind: str, node: Any, place: str) -> Any:
            fields = self.config(kind, node, place).delta()
            return fields["use"] if set(fields) == {"use"} else fields

        return PartSpec(entry, with_nodes(config, where, shortest))

    def named(self, spec: PartSpec) -> Iterator[PartSpec]:
        """`spec`, the parts that its config names, those that theirs name, and so on."""
        yield spec
        for kind, node in named_nodes(spec.config):
            yield from self.named(self.config(kind, node, f"{spec.kind} '{spec.name}'"))

    def sections(self) -> dict[str, str]:
        """Kind -> the section of a file in which it stands, '' for the top: what the contracts of its parts say."""
        return dict(HOMES) | {kind: entry.cls.section for (kind, _), entry in sorted(self.entries.items())}

    def place(self, kind: str) -> str:
        """The dotted path at which a file names a part of `kind`."""
        return f"{self.sections().get(kind, Part.section)}.{kind}".removeprefix(".")

    def of(self, kinds: Iterable[str]) -> list[Entry]:
        """Entries of `kinds`, sorted by kind and name."""
        wanted = set(kinds)
        return sorted((e for e in self.entries.values() if e.kind in wanted), key=lambda e: (e.kind, e.name))

    def _failed(self) -> str:
        if not self.failures:
            return ""
        shown = "; ".join(f"{path}: {reason}" for path, reason in self.failures.items())
        return f" (could not be imported: {shown})"
