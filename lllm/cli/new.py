"""`lllm new KIND NAME`: a working part, ready to be changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from lllm.errors import UserError, nearest

__all__ = ["new"]


def new(
    kind: Annotated[str, typer.Argument(help="mixer, ffn, head, ...")],
    name: Annotated[str, typer.Argument(help="The new part's name, as in 'my_idea'.")],
    like: Annotated[str | None, typer.Option("--like", help="The part of that kind to start from.")] = None,
) -> None:
    """Write a working part to ./registry, begun as a renamed copy of an existing one of its kind."""
    from lllm.registry import load_registry

    registry = load_registry()
    if kind not in registry.kinds():
        raise UserError(f"new: unknown kind '{kind}'{nearest(kind, registry.kinds())}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"new: '{name}' is not a name; expected lower-case letters, digits and underscores")
    if name in registry.names(kind):
        raise UserError(f"new: {kind} '{name}' exists already, in {registry.get(kind, name).path}")
    model = registry.get(kind, like or registry.names(kind)[0], "new --like")
    path = Path("registry") / model.path.parent.name / f"{name}.py"
    if path.exists():
        raise UserError(f"new: {path} exists already; expected a new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_renamed(model.path.read_text(encoding="utf-8"), kind, model.name, name), encoding="utf-8")
    print(f"wrote {path}, begun as a copy of {kind} '{model.name}'")
    print(f"next: edit it, then  lllm show {name}  and  lllm check {kind}/{name}")


def _renamed(source: str, kind: str, old: str, new_name: str) -> str:
    """The source with the registered name changed, and the references of the old part dropped: they are not yours."""
    return re.sub(
        rf'@register\("{kind}", "{old}"[^)]*\)', f'@register("{kind}", "{new_name}")', source, count=1, flags=re.DOTALL
    )
