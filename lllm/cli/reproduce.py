"""`lllm reproduce`: train a committed row again and say whether it agrees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lllm.cli.options import Json, Plugins
from lllm.cli.output import lasting_stdout, print_json, print_table
from lllm.cli.run import train
from lllm.errors import UserError, nearest

if TYPE_CHECKING:
    from lllm.launch.plan import Planned
    from lllm.results.records import Record

__all__ = ["reproduce"]

_FIELDS = (
    "bpb",
    "bpb_text",
    "nats_per_byte",
    "parameters",
    "train_flops",
    "train_flops_per_byte",
    "train_bytes",
    "evaluated_bytes",
    "documents",
)
_FILE, _METRIC = "runs.jsonl", "metrics."


def reproduce(
    what: Annotated[
        str, typer.Argument(metavar="FILE[:RUN]", help="results/EXPERIMENT/runs.jsonl; part of a run's name in it.")
    ],
    results: Annotated[Path, typer.Option("--results", help="Where it is trained.")] = Path("results/.reproduced"),
    tolerance: Annotated[float, typer.Option(help="Largest relative difference of bpb that agrees.")] = 1e-3,
    force: Annotated[bool, typer.Option("--force", help="Train it again although it was reproduced before.")] = False,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Train a recorded run again, the first when none is named, and compare. Exit code 1 when bpb does not agree."""
    if not 0 <= tolerance < 1:
        raise UserError(f"--tolerance {tolerance}: expected a share from 0 up to 1, as in 1e-3")
    record, origin = _recorded(what)
    from lllm.cli.progress import preparing
    from lllm.launch.arms import recorded_arms
    from lllm.launch.plan import make_plan
    from lllm.registry import load_registry
    from lllm.results.run import check_writable

    registry = load_registry(plugin or [])
    check_writable(results)
    arms, arm = recorded_arms(record, registry, results, origin, preparing())
    plugins = [str(path.resolve()) for path in plugin or []]
    plan = make_plan(arms, [arm.variant], [record.seed], plugins=plugins, force=force)
    run = plan.runs[0]
    differing = _differing(record, run)
    if not as_json:
        print(f"{record.name}: {arm.steps} steps, recorded in {origin}")
        for line in differing:
            print(f"not as it was: {line}")
        if run.todo == "finished":
            print(f"trained before in {run.path}; --force trains it again")
    with lasting_stdout():
        if run.todo in ("failed", "running"):
            raise UserError(f"{run.path}: {'failed before: ' if run.todo == 'failed' else ''}{run.why}")
        if not train(plan):
            raise typer.Exit(1)
        _conclude(record, run, differing, tolerance, as_json)


def _recorded(what: str) -> tuple[Record, str]:
    """The record that is meant, and where it is."""
    from lllm.results.committed import read_committed

    file, colon, name = (what, "", "") if Path(what).is_file() else what.rpartition(":")
    path = Path(file if colon else what)
    if not path.is_file() or path.name != _FILE:
        raise UserError(f"reproduce: '{path}': no such file; expected results/EXPERIMENT/{_FILE}, then perhaps :RUN")
    every = read_committed(path.resolve().parent.parent, path.resolve().parent.name)
    records = [record for record in every if record.state == "finished"]
    found = [record for record in records if name in (record.name, record.label)]
    found = found or [record for record in records if name in record.name]
    if not found:
        known = [record.name for record in records]
        raise UserError(f"reproduce: no run '{name}' in {path}{nearest(name, [*known, *(r.variant for r in records)])}")
    if name and len(found) > 1:
        names = ", ".join(record.name for record in found[:12])
        raise UserError(
            f"reproduce: '{name}': {len(found)} runs are meant; expected more of the name of one of {names}"
        )
    return found[0], f"{path}:{found[0].name}"


def _differing(record: Record, run: Planned) -> list[str]:
    """What is known not to be as it was: parts, data, evaluation, identity."""
    from lllm.identity import code_fingerprint

    now, arm = run.arm.fingerprints, run.arm
    lines = []
    if record.fingerprint("code") != now["code"]:
        old = {name: (part.get("digest"), part.get("version")) for name, part in record.parts.items()}
        new = {name: (part["digest"], part["version"]) for name, part in code_fingerprint(arm.used)[1].items()}
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        lines.append(f"code of {', '.join(names)}")
    if record.fingerprint("data") != now["data"]:
        lines.append(f"data, now {arm.setup.dataset.info['made']}")
    if record.fingerprint("evaluator") != now["evaluator"]:
        lines.append("what is evaluated")
    if record.arm != arm.identity:
        lines.append(f"arm, {record.arm[:8]} then and {arm.identity[:8]} now: the meaning of a setting changed")
    return lines


def _conclude(record: Record, run: Planned, differing: list[str], tolerance: float, as_json: bool) -> None:
    """Field by field, then in one sentence."""
    from lllm.results.run import Run

    then, now = _measured(record.result or {}), _measured(Run(run.path).result or {})
    what = _judged_by(then, now)
    if not what:
        raise UserError(f"{run.path}: there is no bpb and no metric on both sides to compare")
    fields = [
        {"field": name, "now": now.get(name), "recorded": then.get(name), "difference": _minus(now, then, name)}
        for name in dict.fromkeys([*_FIELDS, *then, *now])
        if (name in _FIELDS or name.startswith(_METRIC)) and (now.get(name) is not None or then.get(name) is not None)
    ]
    relative = max(abs(now[name] - then[name]) / (abs(then[name]) or 1.0) for name in what)
    exact, agrees = all(now[name] == then[name] for name in what), relative <= tolerance
    if as_json:
        verdict = {"exact": exact, "agrees": agrees, "relative": relative, "tolerance": tolerance}
        print_json({"run": record.name, "path": str(run.path), "differing": differing, "fields": fields, **verdict})
    else:
        shown = ("now", "recorded", "difference")
        rows = [[str(row["field"]), *(_shown(row[key]) for key in shown)] for row in fields]
        print_table(["", *shown], rows, right=(1, 2, 3))
        print(_sentence(", ".join(what), exact, agrees, relative, tolerance, differing))
    raise typer.Exit(0 if agrees else 1)


def _measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result with its metrics as fields of their own."""
    return {**result, **{f"{_METRIC}{name}": value for name, value in (result.get("metrics") or {}).items()}}


def _judged_by(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """bpb where both have it; the metrics that both have where there is no likelihood."""
    metrics = [name for name in then if name.startswith(_METRIC) and _minus(now, then, name) is not None]
    return metrics if _minus(now, then, "bpb") is None else ["bpb"]


def _sentence(what: str, exact: bool, agrees: bool, relative: float, tolerance: float, differing: list[str]) -> str:
    if exact:
        return f"reproduced: {what} is exactly the recorded one"
    why = (
        "what is not as it was is named above" if differing else "same code and data: another machine rounds otherwise"
    )
    if agrees:
        return f"reproduced within {relative:.1e} (tolerance {tolerance:g}); {why}"
    return f"NOT reproduced: {what} differs by {relative:.1e}, the tolerance is {tolerance:g}; {why}"


def _minus(now: Mapping[str, Any], then: Mapping[str, Any], name: str) -> float | None:
    """The difference of a field; None unless both have the number."""
    a, b = now.get(name), then.get(name)
    return a - b if isinstance(a, int | float) and isinstance(b, int | float) else None


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:.10g}"
