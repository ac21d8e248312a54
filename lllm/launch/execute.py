"""Runs as processes: one after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from lllm.errors import UserError
from lllm.launch.begin import begin
from lllm.launch.contracts import Launcher
from lllm.launch.measure import measured_steps
from lllm.launch.plan import Plan, Planned
from lllm.launch.workers import Worker, devices, threads_each
from lllm.registry.build import blaming
from lllm.results.ownership import Owned
from lllm.train.carried import INFO, packed
from lllm.train.interrupt import stop_on_signal
from lllm.train.mirror import check_mirror

__all__ = ["Watcher", "execute", "rehearse", "worker_command"]

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
    """Train what is pending. True when nothing of the plan has failed.

    Raises:
        KeyboardInterrupt: the user stopped it; every run's state is saved.
        UserError: something cannot be run here.
    """
    fine = all(run.todo != "failed" for run in plan.runs)
    pending = plan.pending
    if not pending:
        return fine
    for run in pending:
        check_mirror(run.arm.resolved.run.wandb)
    execution = pending[0].arm.resolved.run
    alone = execution.workers == 1 and execution.nproc == 1 and execution.nnodes == 1
    return (_in_turn if alone else _at_once)(plan, watcher) and fine


def worker_command(run: Planned) -> list[str]:
    """The command that trains a run whose directory has its run.json.

    Raises:
        UserError: the launcher cannot start it, or not before the user has said more.
    """
    command, missing = _command(run)
    if missing:
        raise UserError(missing)
    return command


def rehearse(plan: Plan) -> Iterator[str]:
    """The lines of a dry run: for each pending run the command that trains it, in this directory, on every machine.

    Nothing is written: the command of a run that has no run.json carries it. One that is to be trained anew is named
    in a comment instead, for what is there must be moved aside first.
    """
    for run in plan.pending:
        if run.todo == "train anew":
            yield f"# {run.name}: {run.why}; give the command without --dry-run, which first moves {run.path} aside"
            continue
        carried = []
        if not (run.path / "run.json").exists():
            steps = run.arm.steps if run.arm.steps is not None else measured_steps(run.arm, run.seed)
            carried = [INFO, packed(plan.info(run, steps))]
        command, missing = _command(run, carried)
        if missing:
            yield f"# {missing}"
        yield shlex.join(command)


def _command(run: Planned, carried: Sequence[str] = ()) -> tuple[list[str], str]:
    """The worker's command, and what it lacks."""
    execution = run.arm.resolved.run
    nproc, nnodes = execution.nproc, execution.nnodes
    name = f"{run.arm.identity}-s{run.seed}"
    arguments = [WORKER, str(run.path), *carried]
    with blaming(run.arm.setup.registry):
        launcher: Launcher = run.arm.resolved.build().part("launcher")
        command = launcher.command(sys.executable, arguments, nproc=nproc, nnodes=nnodes, name=name)
        return command, launcher.missing(nproc=nproc, nnodes=nnodes)


def _in_turn(plan: Plan, watcher: Watcher) -> bool:
    from lllm.train.job import train
    from lllm.train.trainer import Failed, Interrupted
    from lllm.train.world import joined

    fine = True
    resolved = plan.pending[0].arm.resolved
    with joined(resolved.run.device) as world, stop_on_signal() as stop:
        for run in plan.pending:
            if stop():
                raise KeyboardInterrupt
            try:
                info = begin(plan, run)
                if info is None:
                    watcher.ended(run, "finished")
                    continue
                watcher.started(run, int(info["steps"]))
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


def _at_once(plan: Plan, watcher: Watcher) -> bool:
    """Processes of their own, at most `workers` at once, each with its share of the machine."""
    waiting, fine = list(plan.pending), True
    running: list[Worker] = []
    workers = plan.pending[0].arm.resolved.run.workers
    with stop_on_signal() as stop:
        try:
            while (waiting and not stop()) or running:
                free = sorted(set(range(workers)) - {worker.slot for worker in running})
                while waiting and free and not stop():
                    started = _start(plan, waiting.pop(0), free[0], workers, watcher)
                    if started is not None:
                        running.append(started)
                        free.pop(0)
                for worker in list(running):
                    if stop():
                        worker.stop()
                    for record in worker.news():
                        watcher.record(worker.run, record)
                    if worker.done:
                        running.remove(worker)
                        state, message = worker.end()
                        watcher.ended(worker.run, state, message)
                        fine = fine and state == "finished"
                time.sleep(POLL)
        finally:
            for worker in running:
                worker.kill()
        if stop():
            raise KeyboardInterrupt
    return fine


def _start(plan: Plan, run: Planned, slot: int, workers: int, watcher: Watcher) -> Worker | None:
    execution = run.arm.resolved.run
    try:
        info = begin(plan, run, shared_timing=workers > 1)
    except Owned as owned:
        watcher.ended(run, "running", str(owned))
        return None
    if info is None:
        watcher.ended(run, "finished")
        return None
    threads = execution.threads or threads_each(workers * execution.nproc)
    environment = {"OMP_NUM_THREADS": str(threads), **devices(slot, execution.nproc)}
    worker = Worker(run, worker_command(run), slot, environment)
    watcher.started(run, int(info["steps"]))
    return worker
