"""probe.json: whether a run's probe passed. Written by the run itself, added to by `lllm probe`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lllm.results.files import dumps, found_object

__all__ = ["FILE", "damaged_probe", "proof_digest", "read_probe", "summary"]

FILE = "probe.json"


def read_probe(run: Path) -> dict[str, Any]:
    """{"begin": before training, "end": on the evaluated weights, "more": [of `lllm probe`]}, as far as these are
    there. What is damaged is left out: it can be made again."""
    said = _content(run) or {}
    found = {when: said[when] for when in ("begin", "end") if _whole(said.get(when))}
    return found | ({"more": kept} if (kept := [one for one in _listed(said.get("more")) if _whole(one)]) else {})


def proof_digest(run: Path) -> str:
    """Of what the run itself wrote, '' where that is nothing; `lllm probe` adds to the file, and may."""
    own = {when: said for when, said in read_probe(run).items() if when != "more"}
    return hashlib.blake2b(dumps(own).encode(), digest_size=16).hexdigest() if own else ""


def damaged_probe(run: Path) -> bool:
    """Whether the file has something that is no record of a probe."""
    said = _content(run)
    if said is None:
        return True
    records = (said.get("begin"), said.get("end"), *_listed(said.get("more")))
    return not all(_whole(one) for one in records if one is not None)


def summary(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """What tables and committed lines keep: whether every probe passed, the largest deviation in nats, how many
    positions of the longest row were predicted from a carried state, whether the likelihood was not compared with what
    the head draws, and of a failed probe its sentence. A damaged record is one that did not pass. None where the
    evaluated weights were not probed, and nothing failed: before training outputs that begin at zero hide every leak.
    """
    proof = [one for one in (said.get("end"), *_listed(said.get("more"))) if one is not None]
    every = [said["begin"], *proof] if said.get("begin") is not None else proof
    failed = [one for one in every if not (_whole(one) and one["passed"])]
    if not failed and not proof:
        return None
    shown = failed[0] if failed else max(proof, key=lambda one: one.get("largest") or 0.0)
    if not _whole(shown):
        shown = {}
    kept = {"passed": not failed, "largest": shown.get("largest"), "covered": shown.get("covered")}
    kept |= {"drawn": False} if any(_whole(one) and one.get("drawn") is False for one in proof) else {}
    text = (shown.get("blame") or {}).get("text")
    return kept | ({"text": text} if text else {})


def _content(run: Path) -> Mapping[str, Any] | None:
    """{} without the file, None where it is no JSON object."""
    path = run / FILE
    return found_object(path) if path.is_file() else {}


def _listed(more: Any) -> list[Any]:
    return more if isinstance(more, list) else [more]


def _whole(one: Any) -> bool:
    """Whether it is a record with what is read of it."""
    if not isinstance(one, Mapping) or not isinstance(one.get("passed"), bool):
        return False
    largest, blame = one.get("largest"), one.get("blame", {"text": ""})
    number = isinstance(largest, int | float | None) and abs(largest or 0) <= sys.float_info.max
    told = isinstance(blame, Mapping) and isinstance(blame.get("text"), str)
    return number and told and isinstance(one.get("covered"), int | None)
