"""Strict YAML 1.2: `1e-3` is a number, a duplicate key is an error, and every value knows its line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError

from lllm.config.tree import Tree
from lllm.errors import UserError

__all__ = ["parse_value", "read_plain_yaml", "read_yaml", "refuse_illegible"]

_DEEPEST = 32
_TAG = "tag:yaml.org,2002:"
_Node = events.ScalarEvent | events.SequenceStartEvent | events.MappingStartEvent | events.AliasEvent


def read_yaml(path: Path) -> Tree:
    """The settings of a file; origins are 'FILE:LINE', with FILE relative to the working directory where it is inside.

    Raises:
        UserError: it cannot be read, is binary, is not YAML, is not a mapping, repeats a key, or uses what a settings
            file has no need of (anchors, tags, several documents).
    """
    root, tree = _document(path), Tree()
    _fill(tree, root.value, "")
    return tree


def read_plain_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file as plain values, whose keys may have dots; errors as in `read_yaml`."""
    return {key: _plain(inner) for key, inner in _document(path).value.items()}


def _document(path: Path) -> _Located:
    full = path.resolve()
    label = str(full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{label}: byte {error.start} is not UTF-8 text; expected a YAML file") from None
    except OSError as error:
        raise UserError(f"{label}: cannot be read ({error.strerror}); expected a YAML file") from None
    root = _Reader(text, label).document()
    if root is None or not isinstance(root.value, dict):
        found = "nothing" if root is None else repr(root.value)[:40]
        raise UserError(
            f"{root.exact if root else label}: found {found}; expected a mapping of settings, as in 'hypothesis: ...'"
        )
    return root


def parse_value(text: str, where: str) -> Any:
    """The value of `key=text`: a scalar, or a list or mapping in flow form. `where` begins error messages.

    Raises:
        UserError: a list, mapping or quoted text that is not closed, a number that is not finite.
    """
    text = text.strip()
    reader = _Reader(text, where, lines=False)
    if text[:1] in ("[", "{", '"', "'"):
        root = reader.document()
        return None if root is None else _plain(root)
    return reader.scalar(text, (True, False), "")  # whatever else it holds, '#', ':' or '*', it is one scalar


def refuse_illegible(text: str, where: str) -> None:
    """Half of a surrogate pair (an escape, or a file name that is not UTF-8) can be neither printed nor recorded."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{where}: {text!a}: expected Unicode text")


@dataclass(frozen=True)
class _Located:
    """A value where it was read: a scalar, a list of plain values, or a mapping to further located values. A value in
    a mapping stands at its key. place: 'FILE:LINE'; column from 1."""

    value: Any
    place: str
    column: int = 1

    @property
    def exact(self) -> str:
        return f"{self.place}:{self.column}"


class _Reader:
    """Turns YAML's events into located values; refuses what settings have no need of."""

    def __init__(self, text: str, label: str, *, lines: bool = True) -> None:
        yaml = YAML(typ="safe", pure=True)
        self.text, self.label, self.lines = text, label, lines
        self.events: Iterator[events.Event] = yaml.parse(text)
        self.resolver = yaml.resolver

    def document(self) -> _Located | None:
        """The one document, None where there is none."""
        try:
            root = None
            for event in self.events:
                if isinstance(event, events.DocumentStartEvent):
                    if root is not None:
                        raise UserError(f"{self._at(event)}: a second document; expected one")
                    if event.version not in (None, (1, 2)):
                        raise UserError(
                            f"{self._at(event)}: expected YAML 1.2, without a directive for another version"
                        )
                elif isinstance(event, _Node):
                    root = self._value(event, 1)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._place(mark.line + 1, mark.column + 1) if mark else self.label
            reasons = "; ".join(text for text in (error.context, error.problem) if text)
            raise UserError(f"{place}: not YAML: {reasons}") from None
        except ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            raise UserError(
                f"{self._place(line)}: character {chr(error.character)!r} has no place in a YAML file"
            ) from None
        except YAMLError as error:
            raise UserError(f"{self.label}: not YAML: {error}") from None
        return root

    def scalar(self, text: str, implicit: tuple[bool, bool], place: str) -> Any:
        """The value of one scalar by YAML 1.2's core rules; dates and the like stay text."""
        refuse_illegible(text, place or self.label)
        tag = str(self.resolver.resolve(ScalarNode, text, implicit)).removeprefix(_TAG)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag not in ("int", "float"):
            return text
        digits = text.replace("_", "")
        base = {"0o": 8, "0x": 16, "0b": 2}.get(digits.lstrip("+-")[:2].lower(), 10)  # decimal may have leading zeros
        number: int | float
        try:
            number = int(digits, base) if tag == "int" else float(digits)
        except ValueError:  # thousands of digits
            number = math.inf
        if abs(number) >= 1 << 63 if isinstance(number, int) else not math.isfinite(number):
            raise UserError(f"{place or self.label}: '{text[:40]}': expected a finite number below 2^63")
        return number

    def _value(self, event: _Node, depth: int) -> _Located:
        place, column = self._at(event), event.start_mark.column + 1
        if depth > _DEEPEST:
            raise UserError(f"{place}: nested more than {_DEEPEST} deep")
        if event.anchor is not None or (not isinstance(event, events.AliasEvent) and event.tag is not None):
            raise UserError(f"{place}: anchors, aliases and tags have no place here; expected plain YAML")
        if isinstance(event, events.ScalarEvent):
            return _Located(self.scalar(event.value, event.implicit, place), place, column)
        if isinstance(event, events.SequenceStartEvent):
            return _Located([_plain(item) for item in self._items(depth)], place, column)
        return _Located(self._mapping(depth), place, column)

    def _items(self, depth: int) -> Iterator[_Located]:
        """Values until the end of the collection that has just begun."""
        for event in self.events:
            if not isinstance(event, _Node):
                return
            yield self._value(event, depth + 1)

    def _mapping(self, depth: int) -> dict[str, _Located]:
        found: dict[str, _Located] = {}
        items = self._items(depth)
        for key in items:
            if not isinstance(key.value, str):
                raise UserError(f"{key.exact}: key {key.value!r:.40}: expected a name")
            if key.value in found:
                raise UserError(
                    f"{key.exact}: duplicate key '{key.value}' (also {found[key.value].exact}); expected it once"
                )
            found[key.value] = _Located(next(items).value, key.place, key.column)
        return found

    def _at(self, event: events.Event) -> str:
        return self._place(event.start_mark.line + 1)

    def _place(self, line: int, column: int | None = None) -> str:
        if not self.lines:
            return self.label
        return f"{self.label}:{line}" + (f":{column}" if column else "")


def _fill(tree: Tree, mapping: dict[str, _Located], prefix: str) -> None:
    for key, located in mapping.items():
        path = f"{prefix}{key}"
        if isinstance(located.value, dict) and located.value:
            tree.origins.setdefault(path, located.place)
            _fill(tree, located.value, f"{path}.")
        else:
            tree.put(path, located.value, located.place)


def _plain(located: _Located) -> Any:
    if isinstance(located.value, dict):
        return {key: _plain(inner) for key, inner in located.value.items()}
    return located.value
