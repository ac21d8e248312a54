"""Fingerprints: what makes two runs the same run. All are 128 bits of blake2b over canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from lllm.config.schema import Eval
from lllm.registry import Entry

__all__ = ["arm", "canonical", "code_fingerprint", "evaluator_fingerprint"]

# Raised when a default of the platform, a default part's name included, or a field's meaning changes: fields at their
# default are not hashed, so without it a run made under the old default would pass for one under the new.
_MEANING = 1
_EVALUATION = 2  # raised when the same settings would score other targets, or score them otherwise


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and ASCII only; floats by repr, so that 1 and 1.0 differ.

    Raises:
        TypeError: not made of mappings with text keys, lists, text, numbers, booleans and None.
        ValueError: a number that is not finite.
    """
    _refuse_keys(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def arm(delta: Mapping[str, Any], budget: Mapping[str, int | float]) -> str:
    """Identity of a fully resolved variant, without its seed (32 hex characters).

    delta: `Resolved.delta()` after matching; its budget is left out, for two ways of asking for one step count are one
    arm. budget: {'steps': n}, or {'seconds': s} where the step count is measured.
    """
    if len(budget) != 1 or not {*budget} <= {"steps", "seconds"}:
        raise TypeError(f"expected {{'steps': n}} or {{'seconds': s}}, not {dict(budget)}")
    fields = {key: value for key, value in delta.items() if key != "budget"}
    return _digest([_MEANING, fields, dict(budget)])


def code_fingerprint(entries: Iterable[Entry]) -> tuple[str, dict[str, dict[str, Any]]]:
    """Of the source of the parts that a run uses: the digest, and per 'kind/name' what it was made of, to record.

    Where a file lies does not count; its syntax tree and version do.
    """
    parts = {f"{e.kind}/{e.name}": {"digest": e.digest, "version": e.version, "path": str(e.path)} for e in entries}
    return _digest({name: [part["digest"], part["version"]] for name, part in parts.items()}), parts


def evaluator_fingerprint(evaluation: Eval, multiple: int, context: int) -> str:
    """Of what is scored and how: the eval section, the padding of documents, tokens per row."""
    fields = evaluation.model_dump(mode="json", exclude_defaults=True)
    return _digest([_EVALUATION, fields, multiple, context])


def _digest(value: Any) -> str:
    return hashlib.blake2b(canonical(value).encode("ascii"), digest_size=16).hexdigest()


def _refuse_keys(value: Any) -> None:
    """json.dumps would turn the key 1 into "1"."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not text")
            _refuse_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_keys(inner)
