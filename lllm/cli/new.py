"""`lllm new KIND NAME`: a working part and its test, ready to be changed."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.options import Plugins
from lllm.errors import UserError, nearest

if TYPE_CHECKING:
    from lllm.registry import Entry, Registry

__all__ = ["new"]

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
    from lllm.results.files import explained

    registry = load_registry(plugin or [])
    if kind not in registry.kinds():
        raise UserError(f"new: unknown kind '{kind}'{nearest(kind, registry.kinds())}")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise UserError(f"new: '{name}' is not a name; expected lower-case letters, digits and underscores")
    if name in registry.names(kind):
        raise UserError(f"new: {kind} '{name}' exists already, in {registry.get(kind, name).path}")
    model = _model(registry, kind, like)
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
    print(f"wrote {path}, begun as a copy of {kind} '{model.name}', and {test}")
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


def _renamed(model: Entry, name: str) -> str:
    """The part's source under another name, class and all, its references dropped: they are not the new part's."""
    kind, old = model.kind, model.name
    source = model.path.read_text(encoding="utf-8")
    pattern = rf'@register\(\s*"{kind}",\s*"{old}"[^)]*\)'
    source = re.sub(pattern, f'@register("{kind}", "{name}")', source, count=1)
    source = source.replace(f"{kind} '{old}'", f"{kind} '{name}'")
    new_class = "".join(map(str.capitalize, name.split("_")))
    source = _with_class(source, model.cls.__name__, new_class)
    return _inviting(source, new_class, f"Begun as a copy of {kind} '{old}': change it, and say here what yours does.")


def _with_class(source: str, old: str, new_name: str) -> str:
    """The source with one identifier renamed, in code only."""
    lines = source.splitlines(keepends=True)
    found = [
        token.start
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.NAME and token.string == old
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
