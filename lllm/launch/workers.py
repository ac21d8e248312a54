"""A run in processes of its own: started, watched, stopped, and gone when this process is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch

from lllm.errors import EXIT_CODE
from lllm.launch.plan import Planned
from lllm.results.run import Run
from lllm.train.interrupt import PARENT

__all__ = ["Worker", "devices"]


class Worker:
    """One run's process, with torchrun's below it where the run has several. slot: its share of the machine; steps: of
    the whole run."""

    def __init__(
        self, run: Planned, command: Sequence[str], slot: int, environment: Mapping[str, str], steps: int
    ) -> None:
        self.run, self.slot, self.steps = run, slot, steps
        self.metrics, self.log = run.path / "metrics.jsonl", run.path / "worker.log"
        self._seen = _size(self.metrics)
        self._logged = _size(self.log)
        self._asked = False
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closes with this process, however it dies, and ends the run's processes
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", PARENT: "1", **environment},
                start_new_session=True,  # a Ctrl-C reaches this process alone, which asks the others to stop
            )

    @property
    def done(self) -> bool:
        return self.process.poll() is not None

    def news(self) -> Iterator[dict[str, Any]]:
        """Records of its metrics that were not seen before, whole ones only."""
        size = _size(self.metrics)
        if size < self._seen:  # cut back to a checkpoint
            self._seen = size
        if size == self._seen:
            return
        with self.metrics.open("rb") as file:
            file.seek(self._seen)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._seen += len(whole) + len(newline)
        for line in whole.splitlines():
            with suppress(ValueError):  # cut back and grown again between two looks: the rest of some other line
                record = json.loads(line)
                if isinstance(record, dict):
                    yield record

    def stop(self) -> None:
        """Ask it, once, to save its state and end: a second signal would not wait."""
        if not self._asked:
            self._asked = True
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with everything below it."""
        self._close()
        self._signal(signal.SIGKILL)
        self.process.wait()

    @property
    def lost(self) -> bool:
        """Whether the process, which is done, ended without a result, a reason of its own or having been asked to: it
        was killed, or crashed. What it saved is there to be continued."""
        said = self._asked or self.process.returncode == EXIT_CODE
        return not said and Run(self.run.path).state in ("interrupted", "empty")

    def end(self) -> tuple[str, str]:
        """State and message of a process that is done: finished, failed, interrupted because it was asked to stop, or
        running, by another process that was faster."""
        self._close()
        run = Run(self.run.path)
        state = run.state
        if state == "finished":
            return "finished", ""
        if state == "running":
            return "running", self._last_error()
        if self._asked and state not in ("failed", "diverged"):
            return "interrupted", ""
        reason = str((run.status or {}).get("reason", "")) or self._last_error()
        return "failed", f"{reason} ({self.log})"

    def _signal(self, number: signal.Signals) -> None:
        if not self.done:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _last_error(self) -> str:
        """What this process said last, an error if there is one."""
        text = self.log.read_bytes()[self._logged :].decode(errors="replace")
        lines = text.strip().splitlines() or ["the process ended without a word"]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines)[-1].removeprefix("error: ")


def devices(slot: int, nproc: int) -> dict[str, str]:
    """The GPUs of a slot, where this process sees any: `nproc` each of those, in turn."""
    count = torch.cuda.device_count()
    if count == 0:
        return {}
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")  # a scheduler's, or the user's: numbers count within it
    names = seen.split(",")[:count] if seen else [str(i) for i in range(count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[(slot * nproc + i) % len(names)] for i in range(nproc))}


def _size(path: os.PathLike[str]) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
