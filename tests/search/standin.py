"""python standin.py RUN_DIRECTORY: what a worker does to a run's files, without training, in a fraction of the time.

The curve falls from 8 bpb to |log2(lr / 0.01)| + 1. In place of checkpoints it continues at the metrics that are there.
pace, in the folder where it is started: seconds per record, 0.02 where there is none.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

from lllm.results.files import Metrics, write_json
from lllm.results.ownership import own
from lllm.results.run import Run
from lllm.train.interrupt import STOPPED, end_with_parent, stop_on_signal

RECORDS = 10


def final(lr: float) -> float:
    """The bits per byte that a learning rate ends with."""
    return abs(math.log2(lr / 0.01)) + 1


def main(path: Path) -> int:
    end_with_parent()
    run, pace = Run(path), Path("pace")
    pause = float(pace.read_text()) if pace.exists() else 0.02
    lr = float(run.info["config"]["semantic"]["train"]["lr"] or 0.01)  # null: the default
    steps = int(run.info["steps"])
    with stop_on_signal() as stop, own(path), Metrics(path / "metrics.jsonl") as metrics:
        for k in range(len(run.metrics()) + 1, RECORDS + 1):
            if stop():
                return STOPPED
            time.sleep(pause)
            step, share = round(k * steps / RECORDS), k / RECORDS
            metrics.append({"step": step, "bpb": (1 - share) * 8 + share * final(lr)})
        write_json(path / "result.json", {"bpb": final(lr), "steps": steps})
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
