"""`lllm check`: the conformance suite, for one part or all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lllm.cli.output import print_table
from lllm.errors import UserError, nearest

__all__ = ["check"]


def check(
    name: Annotated[
        str | None, typer.Argument(help="A part, as 'attention' or 'mixer/attention'; all when left out.")
    ] = None,
    plugin: Annotated[list[Path] | None, typer.Option("--plugin", help="Load a Python file with parts, too.")] = None,
) -> None:
    """Prove that parts keep their contracts: no leak, exact likelihoods, cached = parallel, declared costs true."""
    from lllm.registry import load_registry

    registry = load_registry(plugin or [])
    entries = registry.find(name) if name else registry.of(registry.kinds())
    if not entries:
        raise UserError(
            f"check: unknown part '{name}'{nearest(str(name), [e.name for e in registry.entries.values()])}"
        )
    from lllm.check.suite import check_part

    failed = 0
    for entry in entries:
        results = check_part(registry, entry)
        bad = [result for result in results if not result.passed]
        failed += len(bad)
        print(f"{entry.kind}/{entry.name}: {len(results) - len(bad)} of {len(results)} passed", flush=True)
        if bad:
            print_table(["test", "why"], [[result.test, result.message] for result in bad])
    raise typer.Exit(1 if failed else 0)
