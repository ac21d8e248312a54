"""Runs as processes: one after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from lllm.errors import UserError
from lllm.launch.begin import begin, timed
from lllm.launch.contracts import Launcher
from lllm.launch.plan import Plan, Planned
from lllm.launch.pool import Pool
from lllm.registry.build import blaming
from lllm.results.ownership import Owned
from lllm.train.interrupt import stop_on_signal
from lllm.train.mirror import check_mirror
from lllm.train.worker import INFO, packed

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
    """The command that trains a run whose directory has its run.json. Raises UserError where the launcher cannot start
    it, or not before the user has said more."""
    command, missing = _command(run)
    if missing:
        raise UserError(missing)
    return command


def rehearse(plan: Plan) -> Iterator[str]:
    """The lines of a dry run: for each pending run the command that trains it, in this directory, on every machine.

    Nothing is written: the command of a run that has no run.json carries it. One that is to be trained anew is named
    in a comment instead, for what is there must be moved aside first.
    """
    for run in timed(plan, lambda what: None).pending:
        if run.todo == "train anew":
            yield f"# {run.name}: {run.why}; give the command without --dry-run, which first moves {run.path} aside"
            continue
        carried = []
        if not (run.path / "run.json").exists():
            assert run.arm.steps is not None
            carried = [INFO, packed(plan.info(run, run.arm.steps))]
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
                arm, report = run.arm, partial(watcher.record, run)
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
    with stop_on_signal() as stop:
        with Pool(plan, plan.pending[0].arm.resolved.run.workers, worker_command) as pool:
            while (waiting and not stop()) or pool.running:
                while waiting and pool.free and not stop():
                    _start(pool, waiting.pop(0), watcher)
                if stop():
                    pool.stop()
                for news in pool.poll():
                    run = news.worker.run
                    for record in news.records:
                        watcher.record(run, record)
                    if news.ended:
                        watcher.ended(run, *news.ended)
                        fine = fine and news.ended[0] in ("finished", "running")
                time.sleep(POLL)
        if stop():
            raise KeyboardInterrupt
    return fine


def _start(pool: Pool, run: Planned, watcher: Watcher) -> None:
    try:
        worker = pool.start(run)
    except Owned as owned:
        watcher.ended(run, "running", str(owned))
        return
    if worker is None:
        watcher.ended(run, "finished")
    else:
        watcher.started(run, worker.steps)
