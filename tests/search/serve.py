"""python -m tests.search.serve URL TARGET WORKERS GRACE WORD...: one driver of two studies, for tests that kill it.

It prints its outcome's states as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time

from optuna.samplers import RandomSampler

from lllm.search.driver import drive
from lllm.search.urls import StorageError
from tests.launch.helpers import Watch
from tests.search.helpers import Sweep

STUDIES = ("one", "two")


def main(url: str, target: int, workers: int, grace: int, words: list[str]) -> None:
    for _ in range(60):
        try:
            sweep = Sweep(*words, url=url or None, grace=grace)
            break
        except StorageError:  # a server that is away at the start is refused: the user gives the command again
            time.sleep(1.0)
    samplers = [RandomSampler(seed=len(STUDIES) * os.getpid() + k) for k in range(len(STUDIES))]  # no two propose alike
    studies = [sweep.study(name, sampler=sampler) for name, sampler in zip(STUDIES, samplers, strict=True)]
    jobs = [sweep.job(study, target) for study in studies]
    outcome = drive(jobs, workers=workers, plan=sweep.plan, watcher=Watch())
    print(json.dumps(outcome.states))


if __name__ == "__main__":
    url, target, workers, grace, *words = sys.argv[1:]
    main(url, int(target), int(workers), int(grace), words)
