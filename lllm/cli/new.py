"""`lllm new KIND NAME`: a working part and its test, ready to be changed."""

from __future__ import annotations

import ast
import difflib
import io
import re
import textwrap
import tokenize
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.options import Plugins
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.registry import Entry, Registry

__all__ = ["new"]

# Parts to begin from of kinds that may have none, a folder per kind as in the catalogue; in no registry otherwise.
_SKELETONS = Path(__file__).parent / "skeletons"

_TEST = '''"""The conformance suite, for {kind} '{name}'."""

import pytest

from lllm.cli import main


def test_{name}_keeps_its_contract() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "{kind}/{name}"])
    assert ended.value.code == 0
'''


def new(
    kind: Annotated[str, typer.Argument(help="mixer, ffn, head, ...")],
    name: Annotated[str, typer.Argument(help="The new part's name, as in 'my_idea'.")],
    like: Annotated[str | None, typer.Option("--like", help="The part of that kind to start from.")] = None,
    plugin: Plugins = None,
) -> None:
    """Write a working part to ./registry and its test to ./tests, begun as a renamed copy of one of its kind."""
    from lllm.registry import load_registry
    from lllm.registry.discovery import load_folder
    from lllm.results.files import explained

    registry, skeletons = load_registry(plugin or []), load_folder(_SKELETONS, "skeleton")
    kinds = sorted({*registry.kinds(), *skeletons.kinds()})
    if kind not in kinds:
        close = difflib.get_close_matches(kind, kinds, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"valid: {', '.join(kinds)}"
        raise UserError(f"new: unknown kind '{kind}'; {hint}")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise UserError(f"new: '{name}' is not a name; expected lower-case letters, digits and underscores")
    if name in registry.names(kind):
        raise UserError(f"new: {kind} '{name}' exists already, in {registry.get(kind, name).path}")
    begun = registry if kind in registry.kinds() or like else skeletons
    model = _model(begun, kind, like)
    path = Path("registry") / model.path.parent.name / f"{name}.py"
    test = Path("tests") / f"test_{name}.py"
    for file in (path, test):
        if file.exists():
            raise UserError(f"new: {file} exists already; expected a new file")
    files = {path: _renamed(model, name), test: _TEST.format(kind=kind, name=name)}
    for file, text in files.items():
        with explained(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    print(f"wrote {path}, begun as {_origin(model)}, and {test}")
    print(f"next: edit it, then  lllm show {name}  and  lllm check {kind}/{name}")


def _model(registry: Registry, kind: str, like: str | None) -> Entry:
    """The part to begin from: `like`, or the usual one of its kind."""
    from lllm.config.experiment import defaults

    usual = defaults().get(registry.place(kind))
    known = registry.names(kind)
    model = registry.get(kind, like or (usual if usual in known else known[0]), "new --like")
    if sum(entry.path == model.path for entry in registry.entries.values()) > 1:
        raise UserError(f"new: {model.path} holds several parts; expected --like PART with a file of its own")
    return model


def _origin(model: Entry) -> str:
    """What it is that was copied."""
    return f"the smallest {model.kind}" if model.source == "skeleton" else f"a copy of {model.kind} '{model.name}'"


def _renamed(model: Entry, name: str) -> str:
    """The part's source under another name, class and all, its references dropped: they are not the new part's."""
    kind, old = model.kind, model.name
    source = model.path.read_text(encoding="utf-8")
    pattern = rf'@register\(\s*"{kind}",\s*"{old}"[^)]*\)'
    source = re.sub(pattern, f'@register("{kind}", "{name}")', source, count=1)
    source = source.replace(f"{kind} '{old}'", f"{kind} '{name}'")
    new_class = "".join(map(str.capitalize, name.split("_")))
    source = _with_class(source, model.cls.__name__, new_class)
    return _inviting(source, new_class, f"Begun as {_origin(model)}: change it, and say here what yours does.")


def _with_class(source: str, old: str, new_name: str) -> str:
    """The source with one identifier renamed, in code only, and not where it is an attribute of something else."""
    lines = source.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    found = [
        token.start
        for before, token in pairwise(tokens)
        if token.type == tokenize.NAME and token.string == old and before.string != "."
    ]
    for row, column in reversed(found):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + new_name + line[column + len(old) :]
    return "".join(lines)


def _inviting(source: str, name: str, line: str) -> str:
    """The source with `line` above the docstring of the class `name`."""
    found = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef) and n.name == name)
    first, lines = found.body[0], source.splitlines()
    indent, old = " " * first.col_offset, ast.get_docstring(found)
    start, stop = first.lineno - 1, (first.end_lineno or first.lineno) if old is not None else first.lineno - 1
    text = [line, "", *old.splitlines()] if old else [line]
    doc = textwrap.indent("\n".join(text).replace("\\", "\\\\"), indent).splitlines()
    doc[0] = f'{indent}"""{line}'
    if len(doc) == 1:
        doc[0] += '"""'
    else:
        doc.append(f'{indent}"""')
    return "\n".join([*lines[:start], *doc, *lines[stop:]]) + "\n"
