"""A run killed by SIGKILL at random moments until it finishes: shared by the slow test and the benchmark."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from lllm.results.run import Run
from tests.launch.helpers import Place

WORDS = ["train.batch=6", "run.log_every=7", "run.eval_every=60", "run.checkpoint_seconds=0.0", "run.micro_batch=4"]


@dataclass
class Killing:
    """kills: how many lives ended by SIGKILL; steps: of the run; empty: lives that made no checkpoint."""

    kills: int
    steps: int
    empty: int
    seconds: float


def kill_until_finished(place: Place, path: Path, words: list[str], kills: int, seed: int) -> Killing:
    """Start the command at `place`, let it make some progress or none, kill it; after `kills` of them, let it finish.
    Of four lives one is `lllm run`, the others are the worker that it would start, which dies in half the time.

    A moment is drawn after the start, so that imports, the loading of a checkpoint, steps, evaluations and saving are
    all hit; most lives are killed once they have moved, so that the run gets on.
    """
    draw, began, empty = random.Random(seed), time.monotonic(), 0
    done = 0
    while done < kills:
        before = newest(path)
        command = done % 4 == 0 or not (path / "run.json").exists()
        process = place.start("run", "tiny", *words) if command else place.work(path)
        if draw.random() < 0.9:
            while process.poll() is None and newest(path) == before:
                time.sleep(0.001)
        else:
            time.sleep(draw.uniform(0.0, 2.5))
        time.sleep(draw.uniform(0.0, 0.03))
        alive = process.poll() is None
        process.kill()
        out = process.communicate()
        assert alive, f"it ended before it was killed {done + 1} times: {out}"
        done += 1
        empty += newest(path) == before
    code, _, said = place.lllm("run", "tiny", *words)
    assert code == 0, said
    return Killing(done, int(Run(path).info["steps"]), empty, time.monotonic() - began)


def newest(path: Path) -> str:
    """Name of the newest checkpoint, '' when there is none."""
    folder = path / "checkpoint"
    return max((p.name for p in folder.glob("[0-9]*")), default="") if folder.is_dir() else ""
