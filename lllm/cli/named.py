"""Runs that `--as` named, on the command line: found for a table, and given their name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lllm.identity import code_fingerprint
from lllm.results.named import Code, Named, named, rename
from lllm.results.records import MAYBE, Record
from lllm.results.rule import rule_of

if TYPE_CHECKING:
    from lllm.config import Experiment
    from lllm.launch.plan import Plan, Planned
    from lllm.registry import Registry

__all__ = ["named_runs", "named_to", "plugin_words"]


def named_runs(experiment: Experiment, label: str, registry: Registry, records: Sequence[Record]) -> Named:
    """The runs of the experiment that are called `label`; errors as in `named`."""
    rule = rule_of(experiment)
    code = partial(_code_now, registry)
    return named(records, label, list(experiment.variants), experiment.baseline, rule, code)


def named_to(plan: Plan, words: Sequence[str], records: Sequence[Record]) -> list[Record]:
    """The records, those of the plan's arms under its name: what was finished before had none, or another one.

    A name is of whole arms, never of some seeds of one.
    """
    label = plan.label or ""
    arms = {(run.arm.variant, run.arm.identity): run for run in plan.runs}
    asked = {(run.arm.variant, run.arm.identity, run.seed): run for run in plan.runs}
    found = []
    for record in records:
        run = asked.get((record.variant, record.arm, record.seed), arms.get((record.variant, record.arm)))
        run = None if record.info.get("trial") else run
        extra = {**plan.extra, **run.extra} if run else {}
        known = record.label == label and all(record.info.get(key) == extra.get(key) for key in MAYBE if key in extra)
        if run and record.state == "finished" and not known and not _given_up(record, run):
            if record.label and record.label != label:
                print(f"{record.name}: was called '{record.label}', is called '{label}' now", file=sys.stderr)
            if record.path is None:
                print(f"{record.name}: its directory is not here; '{label}' is its name in this table", file=sys.stderr)
            record = rename(record, label, words, extra)
        found.append(record)
    return found


def _given_up(record: Record, run: Planned) -> bool:
    """Whether it was moved aside, or is to be: what is stale keeps the name under which it was made."""
    now = run.arm.fingerprints
    changed = any(record.fingerprint(name) != now[name] for name in ("code", "data"))
    kept = run.todo == "finished" and run.seed == record.seed
    return bool(record.aside) or (changed and not kept)


def _code_now(registry: Registry, record: Record) -> Code:
    """The code that the parts of a record are now; unknown when one of them is gone."""
    entries = [entry for (kind, name), entry in registry.entries.items() if f"{kind}/{name}" in record.parts]
    code, parts = code_fingerprint(entries)
    gone = [name for name in record.parts.keys() - parts.keys() if not name.startswith("import/")]
    return (code, parts) if entries and not gone else ("", {})


def plugin_words(plugins: Sequence[Path | str]) -> list[str]:
    """The options that load them, as typed."""
    return [word for path in plugins for word in ("--plugin", str(path))]
