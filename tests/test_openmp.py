"""OpenMP spins at barriers as the machine allows, unless the user says how; no bit of a run depends on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lllm import openmp
from tests.cli.conftest import project


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with two cores, of which a load average and a number of threads that can run now are known."""
    monkeypatch.setattr(openmp, "_GIVEN", False)
    monkeypatch.setattr(openmp, "_LOADAVG", tmp_path / "loadavg")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def made(load: float, running: int | None) -> None:
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        if running is not None:
            (tmp_path / "loadavg").write_text(f"{load} 0.00 0.00 {running}/150 4711\n")

    return made


@pytest.mark.parametrize(
    ("load", "running", "threads", "expected"),
    [
        (0.3, 1, None, "2000"),  # alone
        (0.3, 1, 3, "200"),  # more threads than cores
        (2.1, 3, None, "200"),  # beside two busy processes
        (2.1, 3, 1, "200"),
        (1.0, 2, 1, "2000"),  # beside another run that has one of the two cores
        (1.9, 1, None, "2000"),  # what kept it busy has just ended
        (0.2, 5, None, "2000"),  # a moment's work
        (2.0, None, None, "200"),  # a system that tells the load average alone
    ],
)
def test_threads_that_would_wait_for_a_core_sleep_early(
    machine: Any, load: float, running: int | None, threads: int | None, expected: str
) -> None:
    machine(load, running)
    openmp.spin(threads)
    assert openmp.variables() == {"GOMP_SPINCOUNT": expected}


@pytest.mark.parametrize(("said", "expected"), [("1", "2000"), ("2", "200"), ("2,1", "200"), ("two", "200")])
def test_threads_are_as_many_as_openmp_makes(
    machine: Any, monkeypatch: pytest.MonkeyPatch, said: str, expected: str
) -> None:
    machine(1.0, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    openmp.spin()
    assert openmp.variables() == {"GOMP_SPINCOUNT": expected}


def run_in(folder: Path, *words: str, **given: str) -> tuple[dict[str, str], Any]:
    """What run.json records of a run of two threads, and what was measured of it but time. given: of the user."""
    folder.mkdir()
    project(folder)
    free = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-m", "lllm", "run", "tiny", "four", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**free, "OMP_NUM_THREADS": "2", **given}, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = folder.glob("results/tiny/four/*/s0")
    environment = json.loads((run / "run.json").read_text())["environment"]
    losses = [json.loads(line).get("loss") for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {name: environment[name] for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY") if name in environment}
    return found, (losses, json.loads((run / "result.json").read_text())["bpb"])


def test_it_is_recorded_left_to_the_user_and_changes_no_bit(tmp_path: Path) -> None:
    ours, numbers = run_in(tmp_path / "ours")
    assert ours["GOMP_SPINCOUNT"] in ("200", "2000")
    assert run_in(tmp_path / "count", GOMP_SPINCOUNT="77") == ({"GOMP_SPINCOUNT": "77"}, numbers)
    assert run_in(tmp_path / "policy", OMP_WAIT_POLICY="PASSIVE") == ({"OMP_WAIT_POLICY": "PASSIVE"}, numbers)


def test_a_process_of_its_own_is_started_so(tmp_path: Path) -> None:
    """Beside another one, and given as a user would; the process reads it, as OpenMP itself says."""
    found, _ = run_in(tmp_path / "pool", "--workers", "2", OMP_DISPLAY_ENV="VERBOSE")
    (log,) = (tmp_path / "pool").glob("results/tiny/four/*/s0/worker.log")
    assert f"GOMP_SPINCOUNT = '{found['GOMP_SPINCOUNT']}'" in log.read_text()
