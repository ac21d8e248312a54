"""Several runs at once, each a process of its own with its share of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lllm.launch.begin import begin
from lllm.launch.machine import threads_each
from lllm.launch.plan import Plan, Planned
from lllm.launch.workers import Worker, devices
from lllm.openmp import spin

__all__ = ["News", "Pool"]


@dataclass(frozen=True)
class News:
    """What is new of a run: records of its metrics.jsonl; state and message (as `Worker.end`) once it has ended."""

    worker: Worker
    records: Sequence[Mapping[str, Any]]
    ended: tuple[str, str] | None = None


class Pool:
    """At most `slots` runs at once; a context manager that leaves no process behind. command(run): what trains it."""

    def __init__(self, plan: Plan, slots: int, command: Callable[[Planned], list[str]]) -> None:
        self.plan, self.slots, self.command = plan, slots, command
        self.running: list[Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.running:
            worker.kill()

    @property
    def free(self) -> int:
        return self.slots - len(self.running)

    def start(self, run: Planned) -> Worker | None:
        """Begin the run, or continue it; None when it is finished already.

        Raises:
            Owned: another process trains it. UserError: it cannot be started, or written.
        """
        execution = run.arm.resolved.run
        threads = execution.threads or threads_each(self.slots * execution.nproc)
        spin(threads * execution.nproc)
        info = begin(self.plan, run, shared_timing=self.slots > 1)
        if info is None:
            return None
        slot = min(set(range(self.slots)) - {worker.slot for worker in self.running})
        environment = {"OMP_NUM_THREADS": str(threads), **devices(slot, execution.nproc)}
        worker = Worker(run, self.command(run), slot, environment, steps=int(info["steps"]))
        self.running.append(worker)
        return worker

    def poll(self) -> Iterator[News]:
        """What is new since the last time; a run that has ended is no longer running when its news are given."""
        for worker in list(self.running):
            done = worker.done  # asked first: the last records of one that is done are all there
            records = list(worker.news())
            if done:
                self.running.remove(worker)
                yield News(worker, records, worker.end())
            elif records:
                yield News(worker, records)

    def stop(self) -> None:
        """Ask each, once, to save its state and end."""
        for worker in self.running:
            worker.stop()
