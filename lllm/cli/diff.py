"""`lllm diff`: what sets two runs apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.output import print_json, print_table

if TYPE_CHECKING:
    from lllm.results.diff import Curves, Difference, Documented

__all__ = ["diff"]

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run directory, or any unambiguous part of its name.")]


def diff(
    run_a: RunName,
    run_b: RunName,
    docs: Annotated[bool, typer.Option("--docs", help="Compare the nats of each validation document.")] = False,
    curves: Annotated[bool, typer.Option("--curves", help="Find the first logged step at which they part.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Where runs are.")] = Path("results"),
) -> None:
    """Say what differs between two runs: config, parts, code, data, environment."""
    from lllm.results.diff import diff as compute
    from lllm.results.find import find_run

    found = compute(find_run(results, run_a), find_run(results, run_b), docs=docs, curves=curves)
    if as_json:
        print_json(found.to_json())
        return
    _print(found)


def _print(found: Difference) -> None:
    print(f"a: {found.a}\nb: {found.b}")
    if not found.sections:
        print("\nnothing differs: config, parts, code, data, environment and results agree")
    for name, entries in found.sections.items():
        print(f"\n{name}")
        _print_entries(entries)
    if found.documents:
        _print_documents(found.documents)
    if found.curves:
        _print_curves(found.curves)


def _print_documents(documents: Documented) -> None:
    a, b = documents.likelihoods
    names = a if a == b else f"{a} of a, {b} of b"
    print(f"\ndocuments: {documents.shared} in both ({names})", end="")
    print(f", unpaired: {documents.only_a} of a, {documents.only_b} of b")
    print(f"b is better on {documents.better}, worse on {documents.worse}; {documents.total:+.3f} nats in all")
    rows = [
        [entry["hash"], str(entry["bytes"]), f"{entry['a']:.3f}", f"{entry['b']:.3f}", f"{entry['difference']:+.3f}"]
        for entry in documents.largest
    ]
    if rows:
        print_table(["document", "bytes", "a, nats", "b, nats", "difference"], rows, right=(1, 2, 3, 4))


def _print_curves(curves: Curves) -> None:
    if curves.step is None:
        print("\ncurves: bit for bit the same")
    else:
        print(f"\ncurves: they part at step {curves.step}")
        _print_entries(curves.fields)
    for entry in curves.end:
        values = f"{entry['a']:.6g} and {entry['b']:.6g}, {entry['difference']:+.3g}"
        print(f"{entry['field']} at step {entry['step']}: {values}")


def _print_entries(entries: Sequence[dict[str, Any]]) -> None:
    rows = [[entry["path"], *(str(entry[side]) if side in entry else "-" for side in "ab")] for entry in entries]
    print_table(["", "a", "b"], rows)
