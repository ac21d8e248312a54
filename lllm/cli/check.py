"""`lllm check`: the conformance suite, for one part, for all of them, or for everything that can be composed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Json, Plugins
from lllm.cli.output import json_alone, print_table
from lllm.cli.progress import progress
from lllm.errors import UserError, nearest

if TYPE_CHECKING:
    from lllm.check.suite import Outcome

__all__ = ["check"]


def check(
    name: Annotated[
        str | None, typer.Argument(help="A part, as NAME or KIND/NAME; all, and a covering set, when left out.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All parts, and every composition of them.")] = False,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Prove that parts keep their contracts: no leak, exact likelihoods, cached = parallel, declared costs true.

    Exit code 1 when one does not. With --json stdout has one JSON document, at the end, and progress goes to stderr.
    """
    with json_alone(as_json) as found:
        found |= _facts(_outcomes(name, every, plugin or []))
        _conclude(found)
    raise typer.Exit(0 if found["passed"] == found["checked"] else 1)


def _outcomes(name: str | None, every: bool, plugins: list[Path]) -> list[Outcome]:
    """Of everything that was asked for, each told as soon as it is known."""
    from lllm.registry import load_registry

    registry = load_registry(plugins)
    entries = registry.find(name) if name else registry.of(registry.kinds())
    if not entries:
        known = [f"{e.kind}/{e.name}" if "/" in str(name) else e.name for e in registry.entries.values()]
        raise UserError(f"check: unknown part '{name}'{nearest(str(name), known)}")
    if name and every:
        raise UserError(f"check: '{name}' and --all; expected one of them")
    from lllm.check.suite import Checker

    checker, outcomes = Checker(registry), []
    for entry in entries:
        with progress(f"checking {entry.kind}/{entry.name}", 100, "%") as done:
            checker.done = lambda share, done=done: done(100 * share)  # type: ignore[misc]
            found = checker.part(entry)
        outcomes.append(_said(found))
    if not name:
        outcomes += [_said(outcome) for outcome in checker.covering(full=every)]
    return outcomes


def _facts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Outcomes as plain values: where, failures (where, test, why, seed), seconds, notes of what was not tested."""
    told = [
        {
            "where": outcome.where,
            "passed": not outcome.failures,
            "failures": [
                {"where": f.where, "test": f.test, "why": f.message, "seed": f.seed} for f in outcome.failures
            ],
            "seconds": outcome.seconds,
            "notes": outcome.notes,
        }
        for outcome in outcomes
    ]
    passed = sum(not outcome.failures for outcome in outcomes)
    return {"checked": len(outcomes), "passed": passed, "seconds": sum(o.seconds for o in outcomes), "outcomes": told}


def _conclude(facts: Mapping[str, Any]) -> None:
    """Every failure, and how many there are."""
    failed = [failure for outcome in facts["outcomes"] for failure in outcome["failures"]]
    if failed:
        print()
        rows = [[f["where"], f["test"], "" if f["seed"] is None else str(f["seed"]), f["why"]] for f in failed]
        print_table(["where", "test", "seed", "why"], rows)
    print(f"{facts['passed']} of {facts['checked']} passed in {facts['seconds']:.0f} s")


def _said(outcome: Outcome) -> Outcome:
    """One line as soon as it is known."""
    found = ", ".join(sorted({failure.test for failure in outcome.failures}))
    print(f"{outcome.seconds:6.1f} s  {'FAILED' if found else 'passed'}  {outcome.where}  {found}".rstrip(), flush=True)
    if outcome.notes:
        print(f"{'':18}not tested: {', '.join(outcome.notes)}", flush=True)
    return outcome
