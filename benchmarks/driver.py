"""What a sweep's driver itself costs: its own CPU time as a share of the clock, at 4 workers of 10-second trials.

python -m benchmarks.driver [EXPERIMENT [STORAGE_URL]]

The trials are those of a study of the learning rate of each variant (of quickstart, where no other is named), decided
as `lllm sweep` decides them. What trains them is a stand-in, so that 2 cores can serve 4: a process that writes 100
records in 10 seconds, 10 of them evaluations, then a result. Deciding what a trial is (settings, size matching,
identity, what is there already) is part of the whole, and measured on its own as well. Prints a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lllm.results.files import Metrics, write_json
from lllm.results.ownership import own

if TYPE_CHECKING:
    import optuna

    from lllm.launch.plan import Planned
    from lllm.search.driver import Job
    from lllm.search.trials import Trials

WORKERS, ROUNDS, SECONDS = 4, 4, 10.0
RECORDS, EVALUATED = 100, 10  # records of a trial; every so many there is an evaluation
STAND_IN = "--trial"


class Silence:
    """A watcher that shows nothing."""

    def started(self, run: Planned, steps: int) -> None:
        """Nothing."""

    def record(self, run: Planned, record: Mapping[str, Any]) -> None:
        """Nothing."""

    def ended(self, run: Planned, state: str, message: str = "") -> None:
        """Nothing."""


def trial(path: Path) -> None:
    """What a run of 10 seconds writes."""
    steps = int(json.loads((path / "run.json").read_bytes())["steps"])
    with own(path), Metrics(path / "metrics.jsonl") as metrics:
        for k in range(1, RECORDS + 1):
            time.sleep(SECONDS / RECORDS)
            step = round(k * steps / RECORDS)
            metrics.append({"step": step, "loss": 5.0 / k, "lr": 1e-3, "grad_norm": 1.0, "bytes_per_second": 1e5})
            if k % EVALUATED == 0:
                metrics.append({"step": step, "bpb": 8.0 / k})
        write_json(path / "result.json", {"bpb": 2.5})


def job(trials: Trials, study: optuna.Study, variant: str, target: int, deciding: list[float]) -> Job:
    """The job of a variant; `deciding` is given the CPU seconds of each proposal."""
    from lllm.search.driver import Job

    def planned(rate: float, number: int) -> Planned:
        began = time.process_time()
        found = trials.planned(variant, {"train.lr": rate}, study.study_name, number)
        deciding.append(time.process_time() - began)
        return found

    return Job(
        study,
        target,
        propose=lambda asked: planned(asked.suggest_float("train.lr", 1e-4, 1e-1, log=True), asked.number),
        values=lambda result: [float(result["bpb"])],
        replan=lambda left: planned(left.params["train.lr"], left.number),
        prune_after=2,
    )


def main(name: str = "quickstart", url: str | None = None) -> None:
    """Rounds of as many trials as there are workers."""
    import optuna

    from lllm.config import Tree, load_experiment
    from lllm.launch.arms import Arms
    from lllm.launch.plan import Plan
    from lllm.registry import load_registry
    from lllm.search.driver import drive
    from lllm.search.storage import open_storage
    from lllm.search.trials import Trials

    root = Path(__file__).resolve().parents[1]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        experiment = load_experiment(name)
        trials = Trials(Arms(experiment, Tree(), load_registry()), (), (), seed=1000)
        for variant in experiment.variants:
            trials.arms.arm(variant)  # data are prepared and the first of each is decided before the clock starts
        storage, deciding = open_storage(url, Path("results"), experiment.name), list[float]()
        each = WORKERS * ROUNDS // len(experiment.variants)
        jobs = []
        for variant in experiment.variants:
            study = optuna.create_study(storage=storage, study_name=f"driver-{os.getpid()}-{variant}")
            jobs.append(job(trials, study, variant, each, deciding))
        plan = Plan(experiment, (), Path("results"))

        def command(run: Planned) -> list[str]:
            return [sys.executable, "-m", "benchmarks.driver", STAND_IN, str(run.path)]

        outcome = drive(jobs, workers=WORKERS, plan=plan, watcher=Silence(), command=command)
        os.chdir("/")
    print(
        json.dumps(
            {
                "workers": WORKERS,
                "states": outcome.states,
                "seconds": round(outcome.seconds, 1),
                "cpu_seconds": round(outcome.cpu_seconds, 2),
                "share": round(outcome.cpu_seconds / outcome.seconds, 4),
                "deciding_cpu_seconds_each": round(sum(deciding) / len(deciding), 3),
                "share_without_deciding": round((outcome.cpu_seconds - sum(deciding)) / outcome.seconds, 4),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] == [STAND_IN]:
        trial(Path(sys.argv[2]))
    else:
        main(*sys.argv[1:])
