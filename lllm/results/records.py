"""A run as the tables see it: plain values, whether they came from its directory or from a committed line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lllm.results.rule import OF_LIKELIHOOD
from lllm.results.state import State

__all__ = ["FINGERPRINTS", "INFO", "MAYBE", "Record", "differences", "flatten", "lists_sound", "mapping", "real"]

FINGERPRINTS = ("code", "data", "evaluator")

# What a run may have beside what defines it. tuned: {"trials", "trained", "terms", "fields", "sensitivity", "tried"} of
# a run at tuned settings; trial: {"study", "number", "fields"} of one that a sweep asked for; looks: {"most"} of one
# whose seeds were added until the verdict was in; rule: by which it was to be decided when it was begun; planned: with
# which seeds; family: the variants that were to be set against the baseline, and against: the baseline's arm;
# comparisons: how many had been begun against it by then; begun: seeds of all lists with which the arm ever was begun;
# machine: what its times depend on; probe: the summary of its probe.json, see `lllm.results.probed`.
MAYBE = ("tuned", "trial", "looks", "rule", "planned", "family", "against", "comparisons", "begun", "machine", "probe")

# what is kept of run.json: no paths of a machine, nothing that only one machine knows
INFO = ("name", "baseline", "arm", "seed", "config", "fingerprints", "parts", "steps", "budget", "sizes", *MAYBE)


@dataclass(frozen=True)
class Record:
    """One run. `info` has the keys of `INFO`, its config the semantic half only. `path` is None when the run is known
    from runs.jsonl alone; `curves` and `blocks` (see `blocks_of`) are what its line has."""

    experiment: str
    variant: str
    arm: str
    seed: int
    state: State
    info: Mapping[str, Any]
    result: Mapping[str, Any] | None = None
    reason: str = ""
    path: Path | None = None
    curves: Mapping[str, Any] = field(default_factory=dict)
    blocks: Mapping[str, Any] | None = None

    @property
    def finished_at(self) -> float:
        """As the run wrote it, in seconds since 1970; 0 when unknown. Files have other times once they are copied."""
        found = (self.result or {}).get("finished_at")
        return float(found) if isinstance(found, int | float) else 0.0

    @property
    def name(self) -> str:
        """EXPERIMENT/VARIANT/ARM8/sSEED, or the directory's own last part when it was retired."""
        place = self.path.name if self.path else f"s{self.seed}"
        return f"{self.experiment}/{self.variant}/{self.arm[:8]}/{place}"

    @property
    def aside(self) -> str:
        """What its directory was moved aside as ('stale', 'forced', 'damaged'), '' for one in its place."""
        return self.path.name.removeprefix(f"s{self.seed}").lstrip(".") if self.path else ""

    @property
    def label(self) -> str:
        """What `--as` called it, or ''."""
        return str(self.info.get("name") or "")

    @property
    def config(self) -> Mapping[str, Any]:
        return self.section("config")

    @property
    def parts(self) -> Mapping[str, Mapping[str, Any]]:
        return self.section("parts")

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What the corpus and the head report beside bits per byte, by name."""
        return mapping((self.result or {}).get("metrics"))

    def number(self, name: str) -> float | None:
        """A number of its result, None where it has none."""
        result = self.result or {}
        return None if name in OF_LIKELIHOOD and result.get("kind") == "none" else real(result.get(name))

    def value(self, name: str) -> float | None:
        """A number of its result, or else a metric of its corpus or head."""
        found = self.number(name)
        return real(self.metrics.get(name)) if found is None else found

    def section(self, name: str) -> Mapping[str, Any]:
        """The mapping that run.json has under a name, an empty one where it has none."""
        return mapping(self.info.get(name))

    def fingerprint(self, name: str) -> str:
        """The fingerprint of 'code', 'data' or 'evaluator', '' when unknown."""
        return str((self.info.get("fingerprints") or {}).get(name) or "")


def real(value: Any) -> float | None:
    """A number as a float; None for what is none, is not finite, or is a truth value."""
    fine = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return float(value) if fine else None


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def lists_sound(info: Mapping[str, Any]) -> bool:
    """Whether seeds that were planned are a list of numbers, and the family one of names, where there are any."""
    kinds = {"planned": int, "begun": int, "family": str}
    lists = ((info.get(name), kind) for name, kind in kinds.items())
    return all(one is None or (isinstance(one, list) and all(isinstance(x, of) for x in one)) for one, of in lists)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as dotted path -> leaf; lists are leaves, and so are empty mappings."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Dotted paths at which two trees differ, as {"path", "a", "b"}; the side that lacks the path lacks the key."""
    flat_a, flat_b = flatten(a), flatten(b)
    found = []
    for path in sorted(flat_a.keys() | flat_b.keys()):
        entry = {"path": path}
        entry |= {side: flat[path] for side, flat in (("a", flat_a), ("b", flat_b)) if path in flat}
        if "a" not in entry or "b" not in entry or entry["a"] != entry["b"]:
            found.append(entry)
    return found
