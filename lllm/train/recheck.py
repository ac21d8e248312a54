"""Whether a run trains what was planned: the code that is loaded and the data that are prepared, against run.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lllm.config import Resolved
from lllm.config.sections import EXECUTION
from lllm.errors import UserError
from lllm.identity import code_fingerprint, platform
from lllm.model import LatentModel
from lllm.registry import Entry

__all__ = ["changes", "platform_changed", "refuse_changes", "used_parts"]


def used_parts(model: LatentModel, resolved: Resolved) -> tuple[Entry, ...]:
    """The parts whose source makes the code fingerprint of a run: those in the model, those outside of it but for what
    only executes, and all that they name in their configs, at any depth."""
    chosen = [spec for place, spec in resolved.nodes().items() if not place.startswith(f"{EXECUTION}.")]
    used = dict(model.used)
    for spec in chosen:
        if spec.entry.cls.section != "model" or (spec.kind, spec.name) in model.used:
            used |= {(named.kind, named.name): named.entry for named in resolved.registry.named(spec)}
    return tuple(used[key] for key in sorted(used))


def changes(info: Mapping[str, Any], used: Sequence[Entry], data: str) -> list[str]:
    """What of the code or data of a recorded run is not as it is now. data: today's fingerprint."""
    recorded, parts_then = info.get("fingerprints") or {}, info.get("parts") or {}
    code, parts = code_fingerprint(used)
    found = []
    if recorded.get("code") != code:
        names = [name for name, part in parts.items() if _source(parts_then.get(name)) != _source(part)]
        found += [f"{parts[name]['path'] or name} changed" for name in names]
        found += [f"{name} is no longer used" for name in parts_then if name not in parts]
    if recorded.get("data") != data:
        found.append("the data changed")
    return list(dict.fromkeys(found))


def platform_changed(info: Mapping[str, Any]) -> str:
    """That a recorded run was begun with other code of lllm's own, with which its weights may not go on; '' if not."""
    then = (info.get("fingerprints") or {}).get("platform")
    return "" if then == platform() else "lllm's own code changed"


def refuse_changes(info: Mapping[str, Any], used: Sequence[Entry], data: str) -> None:
    """Raises UserError when a file was edited between the plan, or the run's beginning, and now."""
    found = list(filter(None, [*changes(info, used, data), platform_changed(info)]))
    if found:
        raise UserError(f"{', '.join(found)} since the plan was made; give the command again")


def _source(part: Mapping[str, Any] | None) -> tuple[Any, Any] | None:
    return None if part is None else (part.get("digest"), part.get("version"))
