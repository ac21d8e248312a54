"""Sizes that were matched by measured time: what was measured, where it is kept, and when it may be used again.

A measurement is made once. What it decides, the value of a size knob, is part of an arm's identity, so it is kept in
results/EXPERIMENT/.match.json and read from there ever after. A repository keeps match.json beside it, which only
`lllm compare --commit` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ConfigDict, TypeAdapter, ValidationError

from lllm.config import Resolved
from lllm.errors import UserError
from lllm.identity import arm as identity
from lllm.results.files import explained, read_json, write_json

__all__ = ["FILE", "Timing", "Timings", "Unmeasured", "question"]

FILE = "match.json"
_UNTIMED = ("budget", "eval", "train.lr", "train.clip", "train.schedule")  # settings without part in a measured step


class Unmeasured(UserError):
    """A variant is matched by a time that nobody has measured, and this is no place to measure it."""


@dataclass(frozen=True)
class Timing:
    """One size, measured beside the baseline.

    value: of the size knob. ratio: its time per byte over the baseline's, median of `steps` pairs of steps, known to
    within `half` (relative, 95%). seconds, baseline_seconds: medians of a step. smallest, largest: value and ratio of
    the ends of what was tried. machine: `lllm.launch.machine.machine`; measured: when, UTC; code: fingerprints of both.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # of a newer lllm: refused, or it would be lost when written

    value: int
    ratio: float
    half: float
    steps: int
    warm: int
    seconds: float
    baseline_seconds: float
    smallest: tuple[int, float]
    largest: tuple[int, float]
    machine: Mapping[str, Any]
    measured: str
    code: tuple[str, str]

    @property
    def sentence(self) -> str:
        """What was measured, how, on what and when."""
        on = self.machine
        return (
            f"{self.ratio:.3f} ± {self.half:.3f} of its time per byte, {1000 * self.seconds:.1f} against "
            f"{1000 * self.baseline_seconds:.1f} ms a step (median of {self.steps} steps of each in turn after "
            f"{self.warm} to warm up, on the run's batches; {on['device']}, {on['threads']} threads, "
            f"{'compiled' if on['compile'] else 'not compiled'}, torch {on['torch']}; measured {self.measured})"
        )


_ANSWERS = TypeAdapter(dict[str, list[Timing]])


def question(variant: Resolved, baseline: Resolved, knob: str, within: float) -> str:
    """What matching answers: which size of `variant` is the baseline's, within what share. Settings that neither a size
    nor a measured step depends on, such as the learning rate, make no other question."""
    return ":".join([_identity(variant, knob), _identity(baseline), knob, f"{within:g}"])


class Timings:
    """The measurements of one experiment, below `results`."""

    def __init__(self, results: Path, experiment: str) -> None:
        self.committed, self.path = (results / experiment / name for name in (FILE, f".{FILE}"))
        self._lock = results / f".{experiment}.{FILE}.lock"

    def find(self, asked: str, on: Mapping[str, Any] | None) -> Timing | None:
        """The answer to `asked` (`question`) measured on such a machine; with None on any, the newest. Raises
        UserError where the file is damaged."""
        found = [timing for timing in self._read().get(asked, []) if on is None or timing.machine == on]
        return max(found, key=lambda timing: timing.measured, default=None)

    def keep(self, asked: str, timing: Timing) -> None:
        """Write the answer to `asked`, beside those of other machines; errors as in `write_bytes`."""
        known = self._read()
        others = [other for other in known.get(asked, []) if other.machine != timing.machine]
        known[asked] = [*others, timing]
        with explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(self.path, known)

    def commit(self) -> None:
        """Write what is known where a repository keeps it; errors as in `keep`."""
        if self.path.is_file():
            self._write(self.committed, self._read())

    def alone(self) -> AbstractContextManager[object]:
        """Only one process measures at a time: two would slow each other down, and find two answers."""
        with explained(self._lock):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            return FileLock(self._lock).acquire()

    def _read(self) -> dict[str, list[Timing]]:
        """Both files; of one machine the answer that was found here."""
        known: dict[str, list[Timing]] = {}
        for path in filter(Path.is_file, (self.committed, self.path)):
            try:
                found = _ANSWERS.validate_python(read_json(path))
            except ValidationError:
                raise UserError(f"{path}: not what lllm wrote; expected the file as it was, or none") from None
            for key, answers in found.items():
                here = [one.machine for one in answers]
                known[key] = [*(one for one in known.get(key, []) if one.machine not in here), *answers]
        return known

    @staticmethod
    def _write(path: Path, known: Mapping[str, list[Timing]]) -> None:
        write_json(path, _ANSWERS.dump_python(dict(sorted(known.items()))))


def _identity(resolved: Resolved, *without: str) -> str:
    delta = resolved.delta()
    for path in (*_UNTIMED, *without):
        *parents, last = path.split(".")
        node: Any = delta
        for name in parents:
            node = node.get(name) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return identity({name: value for name, value in delta.items() if value != {}}, {"steps": 1})
