"""SIGKILL of drivers, runs and the server at random moments: every trial ends once, and nothing is trained twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lllm.results.files import read_metrics
from lllm.results.run import Run
from tests.launch.helpers import Place
from tests.search.helpers import Sweep, facts, wait_until
from tests.search.postgres import Server, served
from tests.search.serve import STUDIES

ROOT = Path(__file__).resolve().parents[2]
STEPS, EVERY = 100, 10
WORDS = (
    f"budget={{steps: {STEPS}}}",
    f"run.log_every={EVERY}",
    "run.eval_every=50",
    "run.checkpoint_seconds=0.2",
)
GRACE = 3


class Drivers:
    """Driver processes on one storage, started again when they are killed."""

    def __init__(self, url: str, target: int, count: int, workers: int) -> None:
        self.url, self.target, self.workers = url, target, workers
        self.processes = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[str]:
        asked = [self.url, str(self.target), str(self.workers), str(GRACE), *WORDS]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "tests.search.serve", *asked],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def living(self) -> list[subprocess.Popen[str]]:
        return [process for process in self.processes if process.poll() is None]

    def runs(self) -> dict[str, psutil.Process]:
        """Directory -> process of each run that trains now."""
        found = {}
        for process in self.living():
            with suppress(psutil.Error):  # one that ends while it is looked at
                for child in psutil.Process(process.pid).children():
                    if "lllm.train.worker" in (line := child.cmdline()):
                        found[line[-1]] = child
        return found

    def kill(self, victim: subprocess.Popen[str]) -> None:
        """SIGKILL, and start another one in its place."""
        victim.kill()
        victim.communicate()
        self.processes[self.processes.index(victim)] = self._start()

    def ended(self) -> list[dict[str, dict[str, int]]]:
        """What each has come to, once all are served."""
        states = []
        for process in self.processes:
            out, err = process.communicate(timeout=180)
            assert process.returncode == 0, err
            states.append(json.loads(out))
        return states

    def close(self) -> None:
        for process in self.living():
            process.kill()
            process.communicate()


def check(sweep: Sweep, target: int, states: list[dict[str, dict[str, int]]]) -> None:
    """Every trial has ended in one state, each run is one trial's and whole, and the best is the files' best."""
    assert states
    assert all(one == {name: {"complete": target} for name in STUDIES} for one in states)
    places: list[str] = []
    for name in STUDIES:
        study = sweep.study(name)
        trials = facts(study)
        assert [number for number, state, _ in trials if state == "COMPLETE"] == list(range(target))
        beyond = [(state, "run" in attributes) for number, state, attributes in trials if number >= target]
        assert set(beyond) <= {("WAITING", False)}
        mine = [attributes["run"] for number, _, attributes in trials if number < target]
        results = [Run(Path("results") / place).result for place in mine]
        assert study.best_value == min(result["bpb"] for result in results if result)
        places += mine
    assert len(set(places)) == len(places)
    there = {str(path.parent.relative_to("results")) for path in Path("results").glob("*/*/*/s*/run.json")}
    assert there == set(places)  # no run without a trial
    for place in places:
        run = Run(Path("results") / place)
        assert run.state == "finished"
        steps = [record["step"] for record in read_metrics(run.path / "metrics.jsonl") if "loss" in record]
        assert steps == list(range(EVERY, STEPS + 1, EVERY))


def test_a_killed_driver_is_continued_with_the_same_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Place(tmp_path, monkeypatch)
    sweep = Sweep(*WORDS)
    drivers = Drivers("", target=2, count=1, workers=2)
    try:
        wait_until(lambda: len(drivers.runs()) == 2, "two runs at once")
        wait_until(lambda: list(Path("results").glob("*/*/*/s*/checkpoint/[0-9]*")), "a checkpoint")
        runs, (driver,) = drivers.runs(), drivers.processes
        driver.kill()
        driver.communicate()
        wait_until(lambda: not any(run.is_running() for run in runs.values()), "the end of its runs", 20.0)
        begun = {(name, trial.number): trial for name in STUDIES for trial in sweep.study(name).trials}
        assert sum(trial.state.name == "RUNNING" for trial in begun.values()) >= 2  # nobody has told them
        drivers.processes = [drivers._start()]
        states = drivers.ended()
    finally:
        drivers.close()
    check(sweep, 2, states)
    for (name, number), trial in begun.items():
        again = sweep.study(name).trials[number]
        assert trial.params.items() <= again.params.items()
        assert trial.user_attrs.get("run", again.user_attrs["run"]) == again.user_attrs["run"]


def torment(drivers: Drivers, draw: random.Random, kinds: list[str], server: Server | None = None) -> int:
    """Kill so many of each kind, at random moments, while something is still to be done; how many there were. No run is
    killed twice by the test: one that dies again and again counts as failed, as it should."""
    killed, kills = set[str](), 0
    draw.shuffle(kinds)
    for kind in kinds:
        time.sleep(draw.uniform(0.5, 2.5))
        wait_until(lambda: set(drivers.runs()) - killed or not drivers.living(), "a run that was not killed before")
        living = drivers.living()
        if not living:
            break
        if kind == "server":
            assert server is not None
            server.kill()
            time.sleep(draw.uniform(0.2, 1.5))
            server.start()
        elif kind == "driver":
            drivers.kill(draw.choice(living))
        else:
            victims = {place: run for place, run in drivers.runs().items() if place not in killed}
            for place in draw.sample(sorted(victims), min(1, len(victims))):
                killed.add(place)
                time.sleep(draw.uniform(0.0, 2.0))
                with suppress(psutil.NoSuchProcess):
                    victims[place].kill()
        kills += 1
    return kills


@pytest.mark.slow
def test_two_drivers_on_a_file_and_random_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Place(tmp_path, monkeypatch)
    sweep = Sweep(*WORDS)
    drivers = Drivers("", target=6, count=2, workers=1)
    try:
        kills = torment(drivers, random.Random(0), 3 * ["driver"] + 3 * ["run"])
        states = drivers.ended()
    finally:
        drivers.close()
    assert kills > 4
    check(sweep, 6, states)


@pytest.mark.slow
def test_three_drivers_on_postgresql_and_random_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Place(tmp_path, monkeypatch)
    with served() as server:
        sweep = Sweep(*WORDS, url=server.url)
        drivers = Drivers(server.url, target=7, count=3, workers=1)
        try:
            kills = torment(drivers, random.Random(1), 3 * ["driver"] + 3 * ["run"] + 2 * ["server"], server)
            states = drivers.ended()
        finally:
            drivers.close()
        assert kills > 5
        check(sweep, 7, states)
