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
    before, last, more = said.get("begin"), said.get("end"), said.get("more")
    proof = [one for one in (last, *(more if isinstance(more, list) else ())) if isinstance(one, Mapping)]
    every = [before, *proof] if isinstance(before, Mapping) else proof
    failed = next((one for one in every if one.get("passed") is not True), None)
    if failed is None and not proof:
        return None
    shown = failed or max(proof, key=lambda one: float(one.get("largest") or 0.0))
    kept = {"passed": failed is None, "largest": shown.get("largest"), "covered": shown.get("covered")}
    text = (shown.get("blame") or {}).get("text")
    return kept | ({"text": text} if text else {})
