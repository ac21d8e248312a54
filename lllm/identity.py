"""Fingerprints: what makes two runs the same run. All are 128 bits of blake2b over canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lllm.config.schema import Eval
from lllm.registry import Entry
from lllm.registry.source import syntax_digest

__all__ = ["arm", "canonical", "checkpoint_identity", "code_fingerprint", "evaluator_fingerprint", "platform"]

# What the platform's own code means for a number: raised when a pinned loss of tests/golden changes, which makes every
# run stale. An edit that changes none of them changes `platform` alone.
MEANING = 1
_LLLM = Path(__file__).parent
_SHAPING = ("data", "kernels", "model", "train")  # folders of lllm whose code is executed to make a number

# Raised when a default of the platform, a default part's name included, or a field's meaning changes: fields at their
# default are not hashed, so without it a run made under the old default would pass for one under the new.
_DEFAULTS = 1
_EVALUATION = 2  # raised when the same settings would score other targets, or score them otherwise


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and ASCII only; floats by repr, so that 1 and 1.0 differ; -0.0 is 0.0.

    Raises:
        TypeError: not made of mappings with text keys, lists, text, numbers, booleans and None.
        ValueError: a number that is not finite.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def arm(delta: Mapping[str, Any], budget: Mapping[str, int | float]) -> str:
    """Identity of a fully resolved variant, without its seed (32 hex characters).

    delta: `Setup.delta()` after matching; its budget is left out, for two ways of asking for one step count are one
    arm. budget: {'steps': n}, or {'seconds': s} where the step count is measured.
    """
    if len(budget) != 1 or not {*budget} <= {"steps", "seconds"}:
        raise TypeError(f"expected {{'steps': n}} or {{'seconds': s}}, not {dict(budget)}")
    fields = {key: value for key, value in delta.items() if key != "budget"}
    return _digest([_DEFAULTS, fields, dict(budget)])


def code_fingerprint(entries: Iterable[Entry]) -> tuple[str, dict[str, dict[str, Any]]]:
    """Of the code that makes a run's number: the digest, and what it was made of, to record: the source of its parts
    by 'kind/name', what their files import by 'import/name', and the meaning of lllm's own code.

    Where a file lies does not count; its syntax tree and version do.
    """
    parts: dict[str, dict[str, Any]] = {}
    for e in entries:
        parts[f"{e.kind}/{e.name}"] = {"digest": e.digest, "version": e.version, "path": str(e.path)}
        parts |= {f"import/{name}": dict(module) for name, module in e.imports.items()}
    parts["platform/lllm"] = {"digest": "", "version": MEANING, "path": str(_LLLM)}
    return _digest({name: [part["digest"], part["version"]] for name, part in parts.items()}), parts


@cache
def platform() -> str:
    """Digest of lllm's own code that is executed to make a number, as this process has it."""
    files = [path for folder in _SHAPING for path in (_LLLM / folder).rglob("*.py")]
    return _digest({path.relative_to(_LLLM).as_posix(): syntax_digest(path.read_bytes()) for path in files})


def checkpoint_identity(info: Mapping[str, Any]) -> str:
    """Of the run whose run.json is `info`: its arm and seed, and the code and data under which it trains, so that no
    weights go on under other ones."""
    made = info.get("fingerprints") or {}
    return _digest([info.get("arm"), info.get("seed"), *(made.get(name) for name in ("code", "data", "platform"))])


def evaluator_fingerprint(evaluation: Eval, multiple: int, context: int) -> str:
    """Of what is scored and how: the eval section, the padding of documents, tokens per row."""
    fields = evaluation.model_dump(mode="json", exclude_defaults=True)
    return _digest([_DEFAULTS, _EVALUATION, fields, multiple, context])


def _digest(value: Any) -> str:
    return hashlib.blake2b(canonical(value).encode("ascii"), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """Equal values alike; json.dumps would turn the key 1 into "1"."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is not text")
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value + 0.0 if isinstance(value, float) else value
