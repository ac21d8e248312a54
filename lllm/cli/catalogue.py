"""`lllm list`: the parts, experiments, variants and runs there are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lllm.cli.options import Json, Plugins, Results
from lllm.cli.output import print_json, print_table
from lllm.errors import UserError, nearest

__all__ = ["list_"]

_LISTINGS = ("parts", "variants", "experiments", "runs")
_LONG = 200  # rows of runs beyond which a drawn table is slow to make and no easier to read


def list_(
    what: Annotated[str, typer.Argument(help="parts, variants, experiments or runs.")] = "parts",
    experiment: Annotated[str | None, typer.Argument(help="Of which experiment the variants are.")] = None,
    plugin: Plugins = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """List what there is, and where each thing comes from."""
    if what not in _LISTINGS:
        raise UserError(f"list: unknown listing '{what}'{nearest(what, _LISTINGS)}")
    if what == "variants":
        if experiment is None:
            raise UserError("list variants: expected the name of an experiment after it, as in 'list variants NAME'")
        _variants(experiment, as_json)
    elif experiment is not None:
        raise UserError(f"list {what}: '{experiment}' is one word too many; only 'variants' takes an experiment")
    elif what == "parts":
        _parts(plugin or [], as_json)
    elif what == "experiments":
        _experiments(as_json)
    else:
        _runs(results, as_json)


def _parts(plugins: list[Path], as_json: bool) -> None:
    from lllm.cli.description import describe, kernel, runs_here
    from lllm.registry import load_registry

    registry = load_registry(plugins)
    entries = registry.of(registry.kinds())
    if as_json:
        print_json([describe(entry) for entry in entries])
        return
    rows = [[e.kind, e.name, e.summary, runs_here(e), kernel(e), e.source] for e in entries]
    print_table(["kind", "name", "what it is", "runs here", "kernel", "from"], rows, drop=(4,))
    for shipped, local in registry.replaced.items():
        print(f"replaced: {shipped} by {local}")
    for entries in registry.conflicts.values():
        places = " and ".join(str(entry.path) for entry in entries)
        print(f"conflict: {entries[0].kind} '{entries[0].name}' is registered with different content in {places}")
    for path, reason in registry.failures.items():
        print(f"failed: {path}: {reason}")


def _experiments(as_json: bool) -> None:
    from lllm.config import list_experiments

    listed = list_experiments()
    if as_json:
        fields = ("name", "path", "source", "hypothesis", "problem")
        print_json([{field: getattr(line, field) for field in fields} for line in listed])
        return
    rows = [[line.name, line.problem or _short(line.hypothesis), line.source] for line in listed]
    print_table(["experiment", "what it asks", "from"], rows)


def _runs(root: Path, as_json: bool) -> None:
    """Those below `root`, and those that are only committed there."""
    from lllm.results.committed import load_records, runs
    from lllm.results.table import aligned

    if as_json:
        print_json(runs(root))
        return
    records = load_records(root)
    if not records:
        print(f"no runs below {root}; `lllm run quickstart` makes some", file=sys.stderr)
        return
    headers = ["run", "state", "bpb", "named", "why"]
    rows = []
    for record in records:
        bpb = (record.result or {}).get("bpb")
        state = record.state if record.path or record.state == "deleted" else f"{record.state}, committed"
        reason = record.reason if record.state in ("failed", "diverged", "pruned", "damaged") or record.aside else ""
        rows.append([record.name, state, "" if bpb is None else f"{bpb:.4f}", record.label, reason])
    if len(rows) > _LONG:
        print(aligned(headers, rows, right=(2,)))
    else:
        print_table(headers, rows, right=(2,))


def _variants(name: str, as_json: bool) -> None:
    from lllm.cli.description import changes, deltas
    from lllm.config import load_experiment

    experiment = load_experiment(name)
    rows = [(variant, variant == experiment.baseline, deltas(tree)) for variant, tree in experiment.variants.items()]
    if as_json:
        print_json([{"variant": v, "baseline": baseline, "deltas": changed} for v, baseline, changed in rows])
        return
    cells = [[v, changes(changed), "baseline" if baseline else ""] for v, baseline, changed in rows]
    print_table(["variant", "what it changes", ""], cells)


def _short(text: str, most: int = 80) -> str:
    """At most `most` characters, cut at a word."""
    return text if len(text) <= most else text[: text.rfind(" ", 0, most - 3)] + "..."
