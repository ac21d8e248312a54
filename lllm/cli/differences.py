"""Differences as a terminal and a pipe show them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lllm.cli.output import print_table

if TYPE_CHECKING:
    from lllm.results.diff import Curves, Difference, Documented, Drifted, ExperimentDifference

__all__ = ["print_difference", "print_experiments"]

_LONG = 60  # characters of a value that a column holds; a longer one gets lines of its own


def print_difference(found: Difference) -> None:
    """Two runs, or a run and what is defined now."""
    print(f"a: {found.a}\nb: {found.b}")
    if not found.sections:
        compared = "code, data and environment" if found.now else "parts, code, data, environment and results"
        print(f"\nnothing differs: config, {compared} agree")
    for name, entries in found.sections.items():
        print(f"\n{name}")
        _print_entries(entries)
        if name == "parts":
            for drifted in found.code:
                _print_code(drifted)
    if found.documents:
        _print_documents(found.documents)
    if found.curves:
        _print_curves(found.curves)


def print_experiments(found: ExperimentDifference) -> None:
    """Two experiments."""
    print(f"a: {found.a}\nb: {found.b}")
    if found.same:
        print("\nnothing differs: the two files define the same question and the same variants")
    if found.question:
        print("\nquestion")
        _print_entries(found.question)
    for side, names in (("a", found.only_a), ("b", found.only_b)):
        if names:
            print(f"\nvariants of {side} alone: {', '.join(names)}")
    if found.everywhere:
        print("\nevery shared variant")
        _print_entries(found.everywhere)
    for name, entries in found.variants.items():
        print(f"\nvariant {name}" + (", beside that" if found.everywhere else ""))
        _print_entries(entries)
    if found.results:
        print("\nresults of shared variants")
        _print_results(found.results)


def _print_results(results: Sequence[Mapping[str, Any]]) -> None:
    metrics = {result[side]["metric"] for result in results for side in "ab"}
    rows = [
        [
            result["variant"],
            *(_measured(result[side], named=len(metrics) > 1) for side in "ab"),
            "-" if result["difference"] is None else f"{result['difference']:+.4f}",
            f"other {', '.join(result['other'])}" if result["other"] else "same",
        ]
        for result in results
    ]
    one = f" ({metrics.pop()})" if len(metrics) == 1 else ""
    print_table(["variant", f"a{one}", f"b{one}", "b - a", "fingerprints"], rows, right=(1, 2, 3))


def _measured(measured: Mapping[str, Any], *, named: bool) -> str:
    """'2.3412 ± 0.0061, n 3'."""
    if measured["mean"] is None:
        return "stale" if measured["stale"] else "no run"
    spread = "" if measured["sd"] is None else f" ± {measured['sd']:.4f}"
    return f"{measured['metric'] + ' ' if named else ''}{measured['mean']:.4f}{spread}, n {measured['n']}"


def _print_code(drifted: Drifted) -> None:
    names = ", ".join(drifted.parts)
    if drifted.note:
        print(f"\n{names}: {drifted.note}")
        return
    print(f"\n{names}:")
    text = "\n".join(drifted.lines)
    if not sys.stdout.isatty():
        print(text)
        return
    from rich.console import Console
    from rich.syntax import Syntax

    Console().print(Syntax(text, "diff", theme="ansi_dark", background_color="default", word_wrap=True))


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


def _print_entries(entries: Sequence[Mapping[str, Any]]) -> None:
    """A table of the short ones, then the long ones one below the other."""
    rows = [[str(entry["path"]), *(str(entry[side]) if side in entry else "-" for side in "ab")] for entry in entries]
    short = [row for row in rows if max(map(len, row[1:])) <= _LONG]
    if short:
        print_table(["", "a", "b"], short)
    for path, a, b in (row for row in rows if row not in short):
        print(f"{path}\n  a: {a}\n  b: {b}")
