"""Where parts come from: the working directory, the shipped catalogue, installed packages, and --plugin files."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from lllm.errors import UserError
from lllm.registry.catalogue import Registry
from lllm.registry.part import part_info
from lllm.registry.source import Module, executed, file_source

__all__ = ["ENTRY_POINT_GROUP", "load_folder", "load_registry", "shipped"]

ENTRY_POINT_GROUP = "lllm.parts"
_NAMESPACE = "lllm_parts"


def shipped(folder: str) -> Path:
    """A folder that travels with the package: inside a wheel, or the live one beside an editable install."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "_shipped" / folder
    return inside if inside.is_dir() else package.parent / folder


def load_registry(plugins: Sequence[Path | str] = (), cwd: Path | None = None) -> Registry:
    """Load every part there is.

    A working-directory file at a shipped part's relative path replaces it. A file that fails to import is remembered
    and named when an unknown name is asked for; a --plugin that fails is an error at once, because it was asked for.

    Raises:
        UserError: a plugin is missing or raises.
    """
    registry = Registry()
    local, catalogue = (cwd or Path.cwd()).resolve() / "registry", shipped("registry").resolve()
    overridden: set[str] = set()
    if local != catalogue and local.is_dir():
        for path in _files(local):
            relative = str(path.relative_to(local))
            if (catalogue / relative).is_file():
                overridden.add(relative)
                registry.replaced[catalogue / relative] = path
            _load(registry, path, "working directory")
    for path in _files(catalogue):
        if str(path.relative_to(catalogue)) not in overridden:
            _load(registry, path, "shipped")
    for point in entry_points(group=ENTRY_POINT_GROUP):
        _load_entry_point(registry, point)
    for plugin in plugins:
        path = Path(plugin).resolve()
        if not path.is_file():
            raise UserError(f"--plugin {plugin}: no such file; expected a Python file with a registered part")
        _load(registry, path, "plugin")
        if path in registry.failures:
            raise UserError(f"--plugin {plugin}: {registry.failures[path]}")
    return registry


def load_folder(folder: Path, source: str) -> Registry:
    """The parts of one folder alone. source: where its entries say that they come from."""
    registry = Registry()
    for path in _files(folder.resolve()):
        _load(registry, path, source)
    return registry


def _files(folder: Path) -> Iterator[Path]:
    """Part files below `folder`: those whose names do not begin with an underscore or a dot."""
    if folder.is_dir():
        yield from sorted(p for p in folder.rglob("*.py") if not any(s[0] in "_." for s in p.relative_to(folder).parts))


def _load(registry: Registry, path: Path, source: str) -> None:
    """Execute one file and collect its parts; a failure is recorded, so that one bad file does not hide the rest."""
    try:
        digest, imports = file_source(path)
        module = _execute(path, digest)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's file may raise anything at all, and end itself
        place = f"line {error.lineno}, " if isinstance(error, SyntaxError) else ""
        registry.failures[path] = f"{place}{type(error).__name__}: {error}"
        return
    _collect(registry, module, path, digest, source, executed(imports))


def _execute(path: Path, digest: str) -> ModuleType:
    """Import `path` under the private namespace, entered in sys.modules before execution (dataclasses, pickling)."""
    place = hashlib.blake2b(str(path).encode(), digest_size=6).hexdigest()
    name = f"{_NAMESPACE}.{path.stem}_{place}_{digest[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(_NAMESPACE, ModuleType(_NAMESPACE))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _collect(
    registry: Registry, module: ModuleType, path: Path, digest: str, source: str, imports: Mapping[str, Module]
) -> bool:
    """Whether there was a part in it."""
    classes = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    entries = [entry for cls in classes if (entry := part_info(cls)) is not None]
    for entry in entries:
        registry.add(replace(entry, path=path, digest=digest, source=source, imports=imports))
    return bool(entries)


def _load_entry_point(registry: Registry, point: EntryPoint) -> None:
    """An entry point names a module; every part in it is taken. The path serves messages and staleness."""
    place = Path(f"entry point {point.name} = {point.value}")
    try:
        module = importlib.import_module(point.module)
        path = Path(str(module.__file__))
        digest, imports = file_source(path)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see _load
        registry.failures[place] = f"{type(error).__name__}: {error}"
        return
    below = executed([module.__name__, *imports], module.__package__ or "")
    if not _collect(registry, module, path, digest, f"package {point.module.split('.')[0]}", below):
        registry.failures[place] = f"registers no part; expected a class marked with @register in {path} itself"
