"""`lllm report`: one self-contained HTML page of an experiment, or the index of all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Json, Plugins, Results
from lllm.cli.output import print_json
from lllm.errors import BuildError, UserError

if TYPE_CHECKING:
    from lllm.config import Experiment
    from lllm.report.gather import Composition
    from lllm.report.index import Question
    from lllm.results.rows import Comparison

__all__ = ["report"]


def report(
    experiment: Annotated[
        str | None, typer.Argument(metavar="[EXPERIMENT]", help="An experiment, or its file; none: the index.")
    ] = None,
    name: Annotated[str | None, typer.Option("--as", help="The page of the runs of that name instead.")] = None,
    all_runs: Annotated[bool, typer.Option("--all", help="With other arms: overrides, other budgets, trials.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    results: Results = Path("results"),
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Write results/EXPERIMENT/report.html: question, verdicts, figures, samples, and what is needed to do it again.

    The page is one file and needs no network. Without an experiment: results/report.html, the index of all that have
    results.
    """
    if experiment is None:
        if name is not None:
            raise UserError(f"--as {name}: given without an experiment; expected lllm report EXPERIMENT --as {name}")
        facts = _write_index(results)
    else:
        facts = _write_report(experiment, name, all_runs, results, plugin or [])
    if as_json:
        print_json(facts)
    else:
        for sentence in [*facts.get("warnings", ()), *(f"left out: {said}" for said in facts.get("absent", ()))]:
            print(sentence)
        print(f"written: {facts['path']} ({facts['bytes'] / 1e6:.2f} MB)")
    if open_it:
        import webbrowser

        webbrowser.open(Path(facts["path"]).resolve().as_uri())


def _write_report(name: str, label: str | None, all_runs: bool, results: Path, plugins: list[Path]) -> dict[str, Any]:
    from lllm.cli.compare import find
    from lllm.config import load_experiment
    from lllm.report.gather import gather
    from lllm.report.page import page

    experiment = load_experiment(name)
    found = find(name, label, all_runs, results, plugins)
    records, comparison = found.records, found.shown
    committed = any((results / experiment.name).glob("pareto*.json"))  # a search travels as its front, without its runs
    if not records and not committed:
        raise UserError(f"report {experiment.name}: no runs below {results}; expected some: lllm run {experiment.name}")
    trees, why = _compositions(experiment, comparison, results, plugins)
    hypothesis = experiment.hypothesis
    made = page(gather(results, hypothesis, comparison, records, compositions=trees, without_compositions=why))
    file = f"report.{label}.html" if label else "report.html"
    facts = _written(results / experiment.name / file, made.text)
    states = [record.state for record in records]
    return {
        **facts,
        "experiment": experiment.name,
        "rows": len(comparison.rows),
        "runs": {state: states.count(state) for state in dict.fromkeys(states)},
        "figures": list(made.figures),
        "warnings": list(made.warnings),
        "absent": list(made.absent),
    }


def _compositions(
    experiment: Experiment, comparison: Comparison, results: Path, plugins: list[Path]
) -> tuple[list[Composition], str]:
    """What `lllm show` tells of the rows' variants that the file still has; or nothing, and why: the numbers stand
    although a part is gone."""
    from lllm.cli.show import composed, described
    from lllm.registry import load_registry
    from lllm.report.gather import Composition
    from lllm.results.records import flatten

    variants = list(dict.fromkeys(row.variant for row in comparison.rows if row.variant in experiment.variants))
    if not variants:
        return [], "Left out: the experiment's file has none of these variants now."
    place = f"run.results={json.dumps(str(results))}"  # sizes that were matched by time are looked up below it
    try:
        arms, base = composed(experiment, [*variants, *comparison.settings, place], load_registry(plugins))
        found = [described(arm, base) for arm in arms]
    except (UserError, BuildError) as error:
        return [], f"Left out, for the variants cannot be composed here: {error}"
    return [
        Composition(one["variant"], tuple(one["nodes"]), flatten(one["settings"]), str(one["matched"] or ""))
        for one in found
    ], ""


def _write_index(results: Path) -> dict[str, Any]:
    from lllm.report.index import entries, index_page
    from lllm.results.committed import load_records

    records = load_records(results)
    if not records:
        raise UserError(f"report: no runs below {results}; expected some: lllm run EXPERIMENT")
    found = entries(results, records, _questions({record.experiment for record in records}))
    facts = _written(results / "report.html", index_page(found))
    return {**facts, "experiments": [entry.name for entry in found]}


def _questions(names: set[str]) -> dict[str, Question]:
    """What those experiments ask whose files are here and sound."""
    from lllm.config import list_experiments, load_experiment
    from lllm.report.index import Question
    from lllm.results.rule import rule_of

    found = {}
    for listed in list_experiments():
        if listed.name in names and not listed.problem:
            one = load_experiment(listed.name)
            found[listed.name] = Question(one.hypothesis, tuple(one.variants), one.baseline, rule_of(one))
    return found


def _written(path: Path, text: str) -> dict[str, Any]:
    from lllm.results.files import write_bytes

    data = text.encode()
    write_bytes(path, data)
    return {"path": str(path), "bytes": len(data)}
