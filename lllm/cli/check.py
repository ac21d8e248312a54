"""`lllm check`: the conformance suite, for one part, for all of them, or for everything that can be composed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lllm.cli.output import print_table
from lllm.errors import UserError, nearest

if TYPE_CHECKING:
    from lllm.check.suite import Outcome

__all__ = ["check"]


def check(
    name: Annotated[
        str | None,
        typer.Argument(help="A part, as 'attention' or 'mixer/attention'; all, and a covering set, when left out."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All parts, and every composition of them.")] = False,
    plugin: Annotated[list[Path] | None, typer.Option("--plugin", help="Load a Python file with parts, too.")] = None,
) -> None:
    """Prove that parts keep their contracts: no leak, exact likelihoods, cached = parallel, declared costs true."""
    from lllm.registry import load_registry

    registry = load_registry(plugin or [])
    entries = registry.find(name) if name else registry.of(registry.kinds())
    if not entries:
        known = [f"{e.kind}/{e.name}" if "/" in str(name) else e.name for e in registry.entries.values()]
        raise UserError(f"check: unknown part '{name}'{nearest(str(name), known)}")
    if name and every:
        raise UserError(f"check: '{name}' and --all; expected one of them")
    from lllm.check.suite import Checker

    checker = Checker(registry)
    outcomes = [_said(checker.part(entry)) for entry in entries]
    if not name:
        outcomes += [_said(outcome) for outcome in checker.covering(full=every)]
    failed = [failure for outcome in outcomes for failure in outcome.failures]
    if failed:
        print()
        print_table(
            ["where", "test", "seed", "why"],
            [[f.where, f.test, "" if f.seed is None else str(f.seed), f.message] for f in failed],
        )
    bad = sum(bool(outcome.failures) for outcome in outcomes)
    print(f"{len(outcomes) - bad} of {len(outcomes)} passed in {sum(o.seconds for o in outcomes):.0f} s")
    raise typer.Exit(1 if bad else 0)


def _said(outcome: Outcome) -> Outcome:
    """One line as soon as it is known."""
    found = ", ".join(sorted({failure.test for failure in outcome.failures}))
    print(f"{outcome.seconds:6.1f} s  {'FAILED' if found else 'passed'}  {outcome.where}  {found}".rstrip(), flush=True)
    if outcome.notes:
        print(f"{'':18}not tested: {', '.join(outcome.notes)}", flush=True)
    return outcome
