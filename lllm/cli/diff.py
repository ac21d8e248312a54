"""`lllm diff`: what sets two runs, a run and its experiment's file, or two experiments apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Json, Plugins, Results
from lllm.cli.output import print_json, print_table
from lllm.errors import UserError

if TYPE_CHECKING:
    from lllm.results.diff import Curves, Difference, Documented, Drifted, ExperimentDifference
    from lllm.results.run import Run

    Thing = Run | str  # a run, or the name or file of an experiment

__all__ = ["diff", "print_difference"]

_LONG = 60  # characters of a value that a column holds; a longer one gets lines of its own
_NAME = "A run's directory or any unambiguous part of its name, or an experiment's name or file."


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_NAME)],
    b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="The same; without it, what A's experiment defines now.")
    ] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Compare the nats of each validation document.")] = False,
    curves: Annotated[bool, typer.Option("--curves", help="Find the first logged step at which they part.")] = False,
    plugin: Plugins = None,
    as_json: Json = False,
    results: Results = Path("results"),
) -> None:
    """Say what differs.

    Two runs: config, code with the changed lines of each part, data, environment, result. A run alone, or with an
    experiment: the run against its variant as the file defines it now. Two experiments: question, variants, settings,
    results. What is a run's whole name, directory or --as name is that run; otherwise an experiment of that name comes
    before a run that has it as part of its name.
    """
    from lllm.results.diff import Difference

    found = _found(a, b, docs, curves, plugin or [], results)
    if as_json:
        print_json(asdict(found))
    elif isinstance(found, Difference):
        print_difference(found)
    else:
        _print_experiments(found)


def _found(
    a: str, b: str | None, docs: bool, curves: bool, plugins: Sequence[Path], results: Path
) -> Difference | ExperimentDifference:
    from lllm.results.diff import diff as of_runs

    things = [_meant(text, results) for text in (a, b) if text is not None]
    runs = [thing for thing in things if not isinstance(thing, str)]
    experiments = [thing for thing in things if isinstance(thing, str)]
    if len(runs) == 2:
        return of_runs(*runs, docs=docs, curves=curves)
    if docs or curves:
        raise UserError(f"{'--docs' if docs else '--curves'}: compares two runs; expected a run and a second one")
    if len(experiments) == 2:
        return _of_experiments(experiments[0], experiments[1], plugins, results)
    if not runs:
        raise UserError(f"diff {a}: an experiment alone; expected a second one, or a run")
    return _with_now(runs[0], experiments[0] if experiments else None, plugins)


def _meant(text: str, results: Path) -> Thing:
    """What a user named: see `diff`.

    Raises:
        UserError: nothing, or several runs.
    """
    from lllm.config import list_experiments
    from lllm.results.committed import load_records
    from lllm.results.find import find_run

    known = [listed.name for listed in list_experiments()]
    if text.endswith((".yaml", ".yml")):
        return text
    if text in known and not os.path.isfile(os.path.join(text, "run.json")):
        wholly = any(text in (record.name, record.label) for record in load_records(results) if not record.aside)
        if not wholly:
            return text
    return find_run(results, text, known)


def _of_experiments(a: str, b: str, plugins: Sequence[Path], results: Path) -> ExperimentDifference:
    from lllm.launch.now import experiment_now
    from lllm.results.diff import diff_experiments

    return diff_experiments(experiment_now(a, results, plugins), experiment_now(b, results, plugins))


def _with_now(run: Run, experiment: str | None, plugins: Sequence[Path]) -> Difference:
    """The run against its variant as its own experiment, or another one, defines it, with the run's plugins as well."""
    from lllm.launch.now import variant_now
    from lllm.results.diff import diff_now, inner

    own = inner(run.info, "config", "execution").get("plugins")
    every = [*(own if isinstance(own, list) else []), *map(str, plugins)]
    return diff_now(run, variant_now(experiment or run.experiment, run.variant, list(dict.fromkeys(every))))


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


def _print_experiments(found: ExperimentDifference) -> None:
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
