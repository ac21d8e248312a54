"""A run: one arm with one seed, an immutable directory results/EXPERIMENT/VARIANT/ARM8/sSEED."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from lllm.errors import UserError
from lllm.results.documents import Documents, read_documents
from lllm.results.files import explained, read_metrics, read_object, write_json
from lllm.results.ledger import enter
from lllm.results.state import ASIDE, State, state_of

__all__ = ["Run", "check_writable", "create", "retire", "retire_damaged", "run_path"]

_ARM_SHOWN = 8  # hex digits of the arm in a path; the whole of it is in run.json


class Run:
    """A run directory, read when asked. What may still change (result, status, metrics) is read anew each time."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(os.path.abspath(path))

    def __repr__(self) -> str:
        return f"Run({self.name})"

    @cached_property
    def info(self) -> dict[str, Any]:
        """run.json.

        Raises:
            UserError: it is missing or damaged.
        """
        return read_object(self.path / "run.json")

    @property
    def result(self) -> dict[str, Any] | None:
        """result.json, None while there is none."""
        return self._optional("result.json")

    @property
    def status(self) -> dict[str, Any] | None:
        """status.json, None while there is none."""
        return self._optional("status.json")

    @property
    def finished(self) -> bool:
        """Whether there are final numbers."""
        return (self.path / "result.json").is_file()

    @property
    def state(self) -> State:
        """finished, running (its owner lives), interrupted, failed, pruned, or empty (nobody began it)."""
        if self.finished:
            return "finished"
        try:
            age = time.time() - (self.path / "status.json").stat().st_mtime
        except FileNotFoundError:
            return "empty"
        return state_of(False, self.status, age)

    @property
    def name(self) -> str:
        """EXPERIMENT/VARIANT/ARM8/sSEED: what `find_run` looks in."""
        return "/".join(self.path.parts[-4:])

    @property
    def label(self) -> str | None:
        """What `--as` called it."""
        label = self.info.get("name")
        return str(label) if label else None

    @property
    def experiment(self) -> str:
        return str(self._known("experiment"))

    @property
    def variant(self) -> str:
        return str(self._known("variant"))

    @property
    def arm(self) -> str:
        """32 hexadecimal digits."""
        return str(self._known("arm"))

    @property
    def seed(self) -> int:
        return int(self._known("seed"))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return read_metrics(self.path / "metrics.jsonl")

    def documents(self) -> Documents:
        """documents.npz; a UserError when it is missing or damaged."""
        return read_documents(self.path / "documents.npz")

    def _known(self, key: str) -> Any:
        if key not in self.info:
            raise UserError(f"{self.path / 'run.json'}: no '{key}'; the file is damaged")
        return self.info[key]

    def _optional(self, name: str) -> dict[str, Any] | None:
        path = self.path / name
        return read_object(path) if path.is_file() else None


def run_path(root: Path, experiment: str, variant: str, arm: str, seed: int) -> Path:
    """Where the run of `arm` (32 hexadecimal digits) with `seed` lives."""
    return root / experiment / variant / arm[:_ARM_SHOWN] / f"s{seed}"


def create(path: Path, info: Mapping[str, Any]) -> Run:
    """Make the directory of a run and write its run.json, after its line in the ledger; a run of the same arm and seed
    that is there is taken over.

    Raises:
        UserError: another arm with the same first 8 digits lives there, or the directory cannot be written.
    """
    run = Run(path)
    if (path / "run.json").is_file() and (run.arm, run.seed) != (info["arm"], info["seed"]):
        raise UserError(f"{path}: holds arm {run.arm}, not {info['arm']}; expected another results directory")
    if not info.get("trial") and not (path / "run.json").is_file():
        info = {**info, "comparisons": enter(path.parents[3], info)}
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    write_json(path / "run.json", info)
    return Run(path)


def retire(path: Path, why: str, reason: str = "") -> Path:
    """Move a run out of the way, kept beside its place as sSEED.WHY (sSEED.WHY2, ...): what is stale is not destroyed.

    reason: what changed, kept in its status.json; the run itself stays as it is.
    The caller owns neither the old directory nor the new one afterwards: claim the place anew.
    """
    number, target = 1, path.with_name(f"{path.name}.{why}")
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{why}{number}")
    with explained(path):
        path.rename(target)
    if reason:
        write_json(target / "status.json", {**(Run(target).status or {}), ASIDE: reason})
    return target


def retire_damaged(path: Path) -> Path | None:
    """Move a run aside whose run.json or result.json is there and cannot be read, and return where it is now."""
    run = Run(path)
    try:
        if (path / "run.json").is_file():
            for field in ("arm", "seed", "config", "fingerprints"):
                run._known(field)
        if run.result != {}:
            return None
    except UserError:
        pass
    return retire(path, "damaged")


def check_writable(root: Path) -> None:
    """Refuse, before any work, a results directory that cannot be written. Leaves nothing behind.

    Raises:
        UserError: it, or the nearest parent that exists, is not a directory or may not be written.
    """
    place = Path(os.path.abspath(root))
    while not place.exists():
        place = place.parent
    probe = place / f".{secrets.token_hex(6)}.tmp"
    with explained(root):
        probe.touch(exist_ok=False)
        probe.unlink()
