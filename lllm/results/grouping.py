"""Which runs may share a row: those of one arm, code, data, evaluator, platform, of the same targets and kind of
likelihood."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lllm.results.records import FINGERPRINTS, Record, differences
from lllm.results.rule import BPB, Rule

__all__ = ["PLATFORM", "Expected", "assignments", "differs", "few", "groups", "is_current", "stale", "terms_of"]

PLATFORM = "platform"  # the fingerprint of lllm's own code: no row averages two, and none makes a run stale
_SHOWN = 3  # differences that fit in a table's cell


@dataclass(frozen=True)
class Expected:
    """What the experiment file says of a variant now. What is left empty is not known, and is not checked.

    arm: 32 hexadecimal digits; rule: by which it is decided; seeds: those it asks for; fingerprints: of code, data and
    evaluator as they are now; config: its resolved semantic config, from which the labels of other arms are computed;
    parts: 'kind/name' -> {"digest", "version"} of the parts that it uses now, so that what went stale is named without
    a current run.
    """

    variant: str
    arm: str
    baseline: bool = False
    rule: Rule = BPB
    seeds: tuple[int, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def groups(records: Iterable[Record]) -> list[list[Record]]:
    """Records of one arm, split into those that may be averaged; the largest group comes first, of two as large the one
    with the newest result."""
    split: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        split[*terms_of(record).values(), str((record.result or {}).get("kind") or "")].append(record)
    newest = {key: max(r.finished_at for r in group) for key, group in split.items()}
    order = sorted(split, key=lambda key: (-len(split[key]), -newest[key], key))
    return [sorted(split[key], key=lambda record: record.seed) for key in order]


def terms_of(record: Record) -> dict[str, str]:
    """Its fingerprints: of code, data, evaluator and platform; of the documents, whatever the tokenizer; of the
    targets, which bytes of which documents were scored. '' where one is unknown."""
    known = {name: record.fingerprint(name) for name in (*FINGERPRINTS, PLATFORM, "documents")}
    return known | {"targets": str((record.result or {}).get("targets") or "")}


def is_current(group: Sequence[Record], expected: Expected) -> bool:
    """Whether the group's runs were made by code, data and evaluator as they are now, as far as those are known."""
    known = {name: value for name, value in expected.fingerprints.items() if name in FINGERPRINTS and value}
    return all(group[0].fingerprint(name) == value for name, value in known.items())


def stale(record: Record, current: Record | None, expected: Expected) -> str:
    """Why `record` may not join the row of its variant: 'stale: KIND/NAME changed'."""
    known = {name: current.fingerprint(name) if current else "" for name in FINGERPRINTS}
    now = {name: expected.fingerprints.get(name) or known[name] for name in FINGERPRINTS}
    changed = [name for name in FINGERPRINTS if now[name] and now[name] != record.fingerprint(name)]
    newer = expected.parts or (current.parts if current else {})
    parts = _changed_parts(record.parts, newer) if newer and "code" in changed else []
    what = [few(parts) if name == "code" and parts else name for name in changed]
    if not what and current and current.fingerprint(PLATFORM) != record.fingerprint(PLATFORM):
        return "of other code of lllm's own"
    return f"stale: {' and '.join(what)} changed" if what else "stale: other targets or another kind of likelihood"


def differs(record: Record, expected: Expected | None, current: Record | None) -> str:
    """How the arm of `record` differs from its variant as defined now: 'differs: train.lr=0.001'."""
    reference = (expected.config if expected else None) or (current.config if current else None)
    if record.info.get("trial"):
        found = assignments(differences(reference or record.config, record.config))
        what = "trial: " + (few(found) or "as the file has it")
    elif not reference:
        what = f"another arm, {record.arm[:8]}" if expected else "not a variant now"
    else:
        found = assignments(differences(reference, record.config))
        data = expected.fingerprints.get("data") if expected else None
        if not found and data and data != record.fingerprint("data"):  # a text was edited where it lies
            found = ["data"]
        what = "differs: " + few(found) if found else f"arm {record.arm[:8]}"
    return f"{record.label} ({what})" if record.label else what


def assignments(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Differences as they would be typed on the command line to get from the first to the second: train.lr=0.001.
    Without the seed, and without the fields below a node that uses another part: that part's name says it."""
    by_path = {str(entry["path"]): entry for entry in found if entry["path"] != "seed"}
    nodes = tuple(path.removesuffix("use") for path in by_path if path.endswith(".use"))
    told = (path for path in by_path if path.endswith(".use") or not path.startswith(nodes))
    return [_assignment(path.removesuffix(".use"), by_path[path]) for path in told]


def few(items: Sequence[str]) -> str:
    """As many of them as fit in a table's cell."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def _changed_parts(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> list[str]:
    def source(parts: Mapping[str, Mapping[str, Any]], name: str) -> tuple[Any, Any]:
        part = parts.get(name) or {}
        return part.get("digest"), part.get("version")

    return [name for name in sorted(old.keys() | new.keys()) if source(old, name) != source(new, name)]


def _assignment(path: str, entry: Mapping[str, Any]) -> str:
    if "b" not in entry:
        return f"no {path}"
    value = entry["b"]
    return f"{path}={json.dumps(value) if value is None or isinstance(value, bool) else value}"
