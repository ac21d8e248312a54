"""probe.json: whether a run's probe passed. Written by the run itself, added to by `lllm probe`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lllm.results.files import read_json

__all__ = ["FILE", "read_probe", "summary"]

FILE = "probe.json"


def read_probe(run: Path) -> dict[str, Any]:
    """{"begin": before training, "end": on the evaluated weights, "more": [of `lllm probe`]}; {} where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = run / FILE
    return dict(read_json(path)) if path.is_file() else {}


def summary(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """What tables and committed lines keep: whether every probe passed, the largest deviation in nats, how many
    positions of the longest row were predicted from a carried state, and of a failed one its sentence. None where the
    evaluated weights were not probed, and nothing failed: before training outputs that begin at zero hide every leak.
    """
    every = [said[when] for when in ("begin", "end") if when in said] + list(said.get("more", []))
    failed = next((one for one in every if not one["passed"]), None)
    proof = [said["end"]] if "end" in said else []
    proof += said.get("more", [])
    if failed is None and not proof:
        return None
    shown = failed or max(proof, key=lambda one: one["largest"])
    kept = {"passed": failed is None, "largest": shown["largest"], "covered": shown["covered"]}
    text = (failed or {}).get("blame", {}).get("text")
    return kept | ({"text": text} if text else {})
