"""200 kills of one run by SIGKILL at random moments: python -m benchmarks.resume_200 [KILLS]

The finished metrics, weights, result and samples are compared bit for bit with those of an uninterrupted run. Run it
from the root of a checkout. Prints one JSON line; exit code 1 when something differs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.launch.helpers import Place, outcome
from tests.launch.killing import WORDS, kill_until_finished

STEPS_PER_KILL = 15  # a life moves a few steps before it is killed


def main(kills: int) -> int:
    """One run, killed that many times."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.pop("LLLM_DATA", None)
        place = Place(Path(folder))
        words = [*WORDS, f"budget={{steps: {STEPS_PER_KILL * kills}}}"]
        path = place.plan(*words).runs[0].path
        found = kill_until_finished(place, path, words, kills, seed=1)
        whole = place.plan(*words, "run.results=whole")
        place.train(whole)
        same = outcome(path) == outcome(whole.runs[0].path)
        print(json.dumps({**vars(found), "bit_for_bit": same}))
        os.chdir("/")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
