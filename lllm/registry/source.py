"""What of a part's source is executed: its syntax tree, and the modules below it that its imports reach.

Imports are read from the source, those inside functions too; what importlib is asked for by a name that is computed,
and data files that code reads, are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

__all__ = ["Module", "executed", "file_source", "syntax_digest"]

_PARSING = threading.Lock()  # CPython 3.11 counts the depth of all threads in one place (gh-106905)
_INSTALLED = {"site-packages", "dist-packages"}
_PLATFORM = "lllm"  # has a digest of its own: `lllm.identity.platform`
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SILENT = ("kind", "type_comment", "type_ignores")  # fields that change nothing that runs

Module = dict[str, Any]  # of one module or distribution: digest, version, path


def syntax_digest(source: str | bytes) -> str:
    """Digest of the syntax tree without docstrings: an edited comment changes nothing, an edited statement does.

    The walk is our own, over class names and non-empty fields, so that Pythons agree whose `ast.dump` do not.

    Raises:
        SyntaxError, ValueError: no Python.
    """
    return _read(source)[0]


def file_source(path: Path) -> tuple[str, tuple[str, ...]]:
    """The digest of a file, of its bytes where it is no Python source, and the absolute names that it imports, relative
    ones with their dots left on."""
    raw = path.read_bytes()
    return _read(raw) if path.suffix == ".py" else (hashlib.blake2b(raw, digest_size=16).hexdigest(), ())


def executed(names: Iterable[str], package: str = "") -> dict[str, Module]:
    """The modules that a file with these imports executes, at any depth: dotted name -> digest and path of a file that
    is installed nowhere; distribution -> version of what is. Left out: the standard library, lllm itself, and what is
    not there, as an optional library may not be.

    package: of the file, to which its relative imports refer.
    """
    found: dict[str, Module] = {}
    seen: set[str] = set()
    left = [_absolute(name, package) for name in names]
    while left:
        name = left.pop()
        parent, _, _ = name.rpartition(".")
        if not name or name in seen:
            continue
        seen.add(name)
        left.append(parent)  # a package's __init__ runs before its modules
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top == _PLATFORM or (spec := _spec(name)) is None:
            continue
        installed = _distribution(top) if _is_installed(spec) else None
        if installed:
            found[installed[0]] = {"digest": "", "version": installed[1], "path": ""}
        elif spec.origin is not None and os.path.isfile(spec.origin):
            path = Path(spec.origin)
            digest, below = file_source(path)
            found[name] = {"digest": digest, "version": 1, "path": str(path)}
            inside = name if spec.submodule_search_locations is not None else parent
            left += [_absolute(one, inside) for one in below]
    return found


@lru_cache(maxsize=4096)
def _read(source: str | bytes) -> tuple[str, tuple[str, ...]]:
    with _PARSING:
        tree = ast.parse(source)
    digest = hashlib.blake2b("\n".join(_tokens(tree)).encode("ascii"), digest_size=16).hexdigest()
    return digest, tuple(dict.fromkeys(_imports(tree)))


def _tokens(root: ast.AST) -> Iterator[str]:
    """The tree in words, depth first; a stack, for trees may be deeper than Python's own."""
    stack: list[Any] = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, ast.AST):
            yield f"({type(item).__name__}"
            stack.append(_End(")"))
            for name in sorted(item._fields, reverse=True):
                value = getattr(item, name, None)
                if name == "body" and isinstance(item, _DOCUMENTED):
                    value = _undocumented(item)
                elif name == "values" and isinstance(item, ast.JoinedStr):
                    value = _joined(item.values)
                if name not in _SILENT and (value or not (value is None or isinstance(value, list))):
                    stack += [value, _End(f".{name}")]
        elif isinstance(item, list):
            stack += [_End("]"), *reversed(item), _End("[")]
        elif isinstance(item, _End):
            yield item
        else:  # hex, for Python refuses to write an integer of many digits in decimals; ascii, for what can be printed
            value = hex(item) if type(item) is int else ascii(item)  # differs between versions of Unicode
            yield f"{type(item).__name__} {value}"


class _End(str):
    """A word of the tree's own, as opposed to a text in it."""


def _undocumented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    """The body without its docstring; 'pass' where nothing else is in it."""
    if ast.get_docstring(node, clean=False) is None:
        return node.body
    return node.body[1:] or [ast.Pass()]


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """Parts of an f-string with neighbouring texts as one: Pythons cut them differently."""
    made: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant):
            before = made[-1] if made else None
            if isinstance(before, ast.Constant):
                value = ast.Constant(str(before.value) + str(value.value))
                del made[-1]
        if not isinstance(value, ast.Constant) or value.value:
            made.append(value)
    return made


def _imports(tree: ast.AST) -> Iterator[str]:
    """What is imported, wherever it stands: 'a.b', '.c', and of `from a import b` both 'a' and 'a.b', for b may be a
    module; likewise the names in `__all__`, which a star imports."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):  # not executed
            left += node.orelse
            continue
        left += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            dot = "." if node.module else ""
            yield base
            yield from (f"{base}{dot}{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            texts = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
            yield from (f".{text}" for text in texts if isinstance(text, str))


def _absolute(name: str, package: str) -> str:
    """The name without leading dots; '' where it leads beyond the package."""
    try:
        return importlib.util.resolve_name(name, package)
    except ImportError:
        return ""


def _spec(name: str) -> ModuleSpec | None:
    """Where a module is, without importing it; None where there is none."""
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__spec__", None) is not None:
        return loaded.__spec__
    parent, _, _ = name.rpartition(".")
    try:
        if not parent:
            return importlib.util.find_spec(name)
        above = _spec(parent)
        return PathFinder.find_spec(name, above.submodule_search_locations) if above else None
    except (ImportError, ValueError, AttributeError):  # a finder of a stranger's, or a name that is no module's
        return None


def _is_installed(spec: ModuleSpec) -> bool:
    """Whether a file came with a distribution: a folder that a link puts there did not."""
    places = [os.path.dirname(spec.origin)] if spec.origin else list(spec.submodule_search_locations or ())
    return any(_INSTALLED & set(Path(os.path.realpath(place)).parts) for place in places)


@cache
def _distribution(top: str) -> tuple[str, str] | None:
    """Name and version of what provides a top-level module, without the label of a build (+cpu); None: nothing does."""
    names = [top]
    try:
        metadata.version(top)
    except metadata.PackageNotFoundError:  # the module's name is not the distribution's: all are looked through
        names = sorted(set(metadata.packages_distributions().get(top, ())))
    versions = [metadata.version(name).partition("+")[0] for name in names]
    return (",".join(names), ",".join(versions)) if names else None
