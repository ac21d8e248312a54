"""The loop that serves Optuna studies by ordinary runs: ask, train, report, prune, tell.

Trials are numbered from 0 by the storage, without gaps and whoever asks: those below a study's target are its trials,
and it is served once all of them are finished. Where two drivers ask for the last one at the same moment, the number of
the second is not below the target: it goes back to the queue (WAITING), from which a larger target takes it, so that
exactly `target` trials are ever tried.

What a trial is told comes from the files of its run: a run that is there already, finished, failed or pruned by its
study, is told without training, as where a driver died between the two, or where two trials are the same run. A run
that was stopped or killed is continued, by this driver or by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from lllm.launch.execute import Watcher, worker_command
from lllm.launch.plan import Plan, Planned
from lllm.launch.pool import Pool
from lllm.search.jobs import Job
from lllm.search.serving import Server
from lllm.train.interrupt import stop_on_signal

__all__ = ["Job", "Outcome", "drive"]

POLL = 0.25  # seconds between looks at the processes


@dataclass(frozen=True)
class Outcome:
    """What came of it. states: study -> state ('complete', 'pruned', 'fail', or 'running' where time was up) -> number
    of trials. seconds: by the clock; cpu_seconds: of this process without its runs. late: the time was up first."""

    states: Mapping[str, Mapping[str, int]]
    seconds: float
    cpu_seconds: float
    late: bool = False


def drive(
    jobs: Sequence[Job],
    *,
    workers: int,
    plan: Plan,
    watcher: Watcher,
    timeout: float | None = None,
    more: Callable[[], Sequence[Job]] = lambda: (),
    command: Callable[[Planned], list[str]] = worker_command,
) -> Outcome:
    """Serve the jobs, at most `workers` runs at once, until all their trials are finished, those included that other
    drivers of the same storage serve. The study that is least far has the next trial.

    plan: what all runs have in common; its own runs are not looked at. watcher: told as by `execute`; a run that is
    told from its files ends without having started. timeout: seconds after which nothing is started, and what runs is
    stopped with its state saved, to be continued by the next driver. more: asked when all is served; what it returns
    (a study with a larger target, another study) is served next, nothing ends it. command: what trains a run.

    Raises:
        KeyboardInterrupt: the user stopped it; every run's state is saved. UserError: the storage or the results cannot
            be used, or a trial that a dead driver left cannot be planned again.
    """
    began, spent = time.monotonic(), time.process_time()
    late = False
    with stop_on_signal() as stop:
        with Pool(plan, workers, command) as pool, closing(Server(pool, watcher)) as server:
            server.add(jobs)
            while True:
                late = late or (timeout is not None and time.monotonic() - began > timeout)
                if stop() or late:
                    pool.stop()
                    if not pool.running:
                        break
                for news in pool.poll():
                    server.hear(news)
                server.beat()
                if not (stop() or late):
                    if server.fill():
                        continue  # at once: there may be room for another
                    if server.done:
                        extra = more()
                        if not extra:
                            break
                        server.add(extra)
                time.sleep(POLL)
        if stop():
            raise KeyboardInterrupt
        states = {name: served.states() for name, served in server.studies.items()}
    return Outcome(states, time.monotonic() - began, time.process_time() - spent, late)
