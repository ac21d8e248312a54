"""Runs as processes: one after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lllm.launch.contracts import Launcher
from lllm.launch.measure import measured_steps
from lllm.launch.plan import Plan, Planned
from lllm.results.ownership import Owned, own
from lllm.results.run import Run, create, retire
from lllm.train.interrupt import stop_on_signal
from lllm.train.setup import made

__all__ = ["Watcher", "execute", "worker_command"]

WORKER = "lllm.train.worker"
POLL = 0.2  # seconds between looks at the processes


class Watcher(Protocol):
    """Who is told how it goes (the live table)."""

    def started(self, run: Planned, steps: int) -> None:
        """A run begins or continues; it has `steps` steps in all."""

    def record(self, run: Planned, record: Mapping[str, Any]) -> None:
        """A record of its metrics.jsonl."""

    def ended(self, run: Planned, state: str, message: str = "") -> None:
        """finished, failed, interrupted or running (elsewhere)."""


def execute(plan: Plan, watcher: Watcher) -> bool:
    """Train what is pending. True when everything that was to be trained is finished.

    Raises:
        KeyboardInterrupt: the user stopped it; every run's state is saved.
        UserError: something cannot be run here.
    """
    pending = plan.pending
    if not pending:
        return True
    execution = pending[0].arm.resolved.run
    alone = execution.workers == 1 and execution.nproc == 1 and execution.nnodes == 1
    return _in_turn(plan, watcher) if alone else _at_once(plan, watcher)


def worker_command(run: Planned) -> list[str]:
    """The command that trains a run whose directory has its run.json."""
    execution = run.arm.resolved.run
    launcher: Launcher = made(run.arm.resolved.launcher)
    arguments = [WORKER, str(run.path)]
    return launcher.command(sys.executable, arguments, nproc=execution.nproc, nnodes=execution.nnodes)


def _begin(plan: Plan, run: Planned, **execution: Any) -> tuple[dict[str, Any], int]:
    """Make the run's directory, the old one moved away when it is stale; its run.json and steps.

    Raises:
        Owned: another process trains it.
    """
    if run.todo == "train anew" and run.path.exists():
        with own(run.path):
            pass
        retire(run.path, "stale" if run.why.startswith("stale") else "forced")
    if run.todo == "continue":
        info = Run(run.path).info
        return info, int(info["steps"])
    steps = run.arm.steps if run.arm.steps is not None else measured_steps(run.arm, run.seed)
    info = plan.info(run, steps, **execution)
    create(run.path, info)
    return info, steps


def _in_turn(plan: Plan, watcher: Watcher) -> bool:
    from lllm.train.job import train
    from lllm.train.trainer import Failed, Interrupted
    from lllm.train.world import joined

    fine = True
    resolved = plan.pending[0].arm.resolved
    with joined(resolved.run.device) as world, stop_on_signal() as stop:
        for run in plan.pending:
            try:
                info, steps = _begin(plan, run)
                watcher.started(run, steps)
                arm = run.arm

                def report(record: Mapping[str, Any], run: Planned = run) -> None:
                    watcher.record(run, record)

                train(run.path, info, arm.resolved, arm.setup.registry, world=world, report=report, stop=stop)
                watcher.ended(run, "finished")
            except Owned as owned:
                watcher.ended(run, "running", str(owned))
            except Failed as failure:
                fine = False
                watcher.ended(run, "failed", str(failure))
            except Interrupted as interruption:
                watcher.ended(run, "interrupted", str(interruption))
                raise KeyboardInterrupt from None
    return fine


@dataclass
class _Process:
    """A run that has been started. seen: bytes of its metrics that were reported."""

    run: Planned
    process: subprocess.Popen[bytes]
    slot: int
    seen: int = 0
    log: Path = field(default_factory=Path)


def _at_once(plan: Plan, watcher: Watcher) -> bool:
    """Processes of their own, at most `workers` at once, each with its share of the machine."""
    waiting, fine = list(plan.pending), True
    running: list[_Process] = []
    workers = plan.pending[0].arm.resolved.run.workers
    with stop_on_signal() as stop:
        try:
            while (waiting and not stop()) or running:
                free = sorted(set(range(workers)) - {p.slot for p in running})
                while waiting and free and not stop():
                    started = _start(plan, waiting.pop(0), free[0], workers, watcher)
                    if started is not None:
                        running.append(started)
                        free.pop(0)
                if stop():
                    _signal(running, signal.SIGTERM)
                for process in list(running):
                    _tail(process, watcher)
                    if process.process.poll() is not None:
                        running.remove(process)
                        fine = _finish(process, watcher) and fine
                time.sleep(POLL)
        finally:
            _signal(running, signal.SIGKILL)
        if stop():
            raise KeyboardInterrupt
    return fine


def _start(plan: Plan, run: Planned, slot: int, workers: int, watcher: Watcher) -> _Process | None:
    execution = run.arm.resolved.run
    cores = os.cpu_count() or 1
    threads = execution.threads or max(1, cores // (workers * execution.nproc))
    try:
        _, steps = _begin(plan, run, shared_timing=workers > 1)
    except Owned as owned:
        watcher.ended(run, "running", str(owned))
        return None
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    environment |= _devices(slot, execution.nproc)
    log = run.path / "worker.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            worker_command(run),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a Ctrl-C reaches this process alone, which asks the others to stop
        )
    watcher.started(run, steps)
    return _Process(run, process, slot, log=log)


def _devices(slot: int, nproc: int) -> dict[str, str]:
    """The GPUs of a slot, where there are any: `nproc` each, in turn."""
    import torch

    count = torch.cuda.device_count()
    if count == 0:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(str((slot * nproc + i) % count) for i in range(nproc))}


def _tail(process: _Process, watcher: Watcher) -> None:
    """Report the lines that were added to the run's metrics, whole ones only."""
    path = process.run.path / "metrics.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as file:
        if path.stat().st_size < process.seen:  # cut back to a checkpoint
            process.seen = 0
        file.seek(process.seen)
        whole, newline, _ = file.read().rpartition(b"\n")
    process.seen += len(whole) + len(newline)
    for line in whole.splitlines():
        watcher.record(process.run, json.loads(line))


def _finish(process: _Process, watcher: Watcher) -> bool:
    """Say how a process ended; whether its run is finished."""
    run = Run(process.run.path)
    state = run.state
    if state == "finished":
        watcher.ended(process.run, "finished")
        return True
    reason = str((run.status or {}).get("reason", "")) or _last_error(process.log)
    stopped = state == "interrupted" and process.process.returncode in (INTERRUPTED, -signal.SIGTERM)
    watcher.ended(process.run, "interrupted" if stopped else "failed", "" if stopped else f"{reason} ({process.log})")
    return False


INTERRUPTED = 130


def _last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["the process ended without a word"])[-1].removeprefix("error: ")


def _signal(running: list[_Process], number: signal.Signals) -> None:
    for process in running:
        if process.process.poll() is None:
            try:
                os.killpg(process.process.pid, number)
            except ProcessLookupError:
                continue
