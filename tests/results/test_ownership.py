"""Two processes never own the same run, and a dead one never keeps it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lllm.errors import UserError
from lllm.results import ownership, state
from lllm.results.files import read_json, write_json
from lllm.results.ownership import Owned, own
from lllm.results.run import Run

OWNER = """
import sys, time
from pathlib import Path
from lllm.results.ownership import Owned, own
try:
    with own(Path(sys.argv[1])):
        print("owned", flush=True)
        time.sleep(600)
except Owned as error:
    print(error, flush=True)
"""


def start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OWNER, str(path)], stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_processes_that_contend_one_wins_and_its_death_frees_the_run(tmp_path: Path) -> None:
    processes = [start(tmp_path / "s0") for _ in range(3)]
    said = [first_line(process) for process in processes]
    assert sorted(line == "owned" for line in said) == [False, False, True]
    assert all("is training this run" in line for line in said if line != "owned")
    owner = processes[said.index("owned")]
    with pytest.raises(Owned) as caught, own(tmp_path / "s0"):
        pass
    assert caught.value.pid == owner.pid
    assert Run(tmp_path / "s0").state == "running"
    os.kill(owner.pid, signal.SIGKILL)
    for process in processes:
        process.communicate()
    assert Run(tmp_path / "s0").state == "interrupted"
    with own(tmp_path / "s0"):
        assert read_json(tmp_path / "s0" / "status.json")["pid"] == os.getpid()


def test_one_process_does_not_own_a_run_twice(tmp_path: Path) -> None:
    with own(tmp_path), pytest.raises(Owned), own(tmp_path):
        pass


def test_the_block_leaves_the_truth_behind(tmp_path: Path) -> None:
    path = tmp_path / "s0"
    with pytest.raises(KeyboardInterrupt), own(path):
        raise KeyboardInterrupt
    assert Run(path).state == "interrupted"
    with own(path) as mine:
        mine.end("failed", reason="loss is NaN")
    assert Run(path).status == {"state": "failed", "reason": "loss is NaN"}
    with own(path):
        write_json(path / "result.json", {"bpb": 2.0})
    assert Run(path).state == "finished"
    assert not (path / "status.json").exists()


def other_machine(path: Path, age: float, **changes: Any) -> None:
    path.mkdir()
    write_json(path / "status.json", {"state": "running", "pid": 1, "host": "other", "machine": "m", **changes})
    then = time.time() - age
    os.utime(path / "status.json", (then, then))


def test_a_heartbeat_elsewhere_is_respected_until_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "SETTLE", 0.01)
    other_machine(tmp_path / "fresh", 5)
    with pytest.raises(Owned, match="process 1 on other"), own(tmp_path / "fresh"):
        pass
    assert read_json(tmp_path / "fresh" / "status.json")["host"] == "other"
    other_machine(tmp_path / "old", state.STALE_AFTER + 1)
    with own(tmp_path / "old"):
        assert read_json(tmp_path / "old" / "status.json")["pid"] == os.getpid()
    other_machine(tmp_path / "ended", 5, state="interrupted")
    with own(tmp_path / "ended") as mine:
        mine.check()


def test_two_machines_that_take_over_at_once_do_not_both_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_machine(tmp_path / "s0", state.STALE_AFTER + 1)

    def overtaken(seconds: float) -> None:
        write_json(tmp_path / "s0" / "status.json", {"state": "running", "pid": 2, "host": "third", "machine": "n"})

    monkeypatch.setattr(ownership.time, "sleep", overtaken)
    with pytest.raises(Owned, match="process 2 on third"), own(tmp_path / "s0"):
        pass
    assert read_json(tmp_path / "s0" / "status.json")["host"] == "third"


def test_the_heartbeat_beats_and_notices_a_takeover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "BEAT", 0.01)
    file = tmp_path / "status.json"
    with own(tmp_path) as mine:
        first = read_json(file)["heartbeat"]
        while read_json(file)["heartbeat"] == first:
            time.sleep(0.005)
        mine.check()
        with mine._mutex:
            write_json(file, {"state": "running", "pid": 2, "host": "third", "machine": "n"})
        while mine._lost is None:
            time.sleep(0.005)
        with pytest.raises(Owned, match="process 2 on third"):
            mine.check()
    assert read_json(file)["host"] == "third"  # what another machine owns is left alone


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), own(tmp_path / "file" / "s0"):
        pass


def test_scratch_of_a_killed_writer_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".run.json.abc.tmp").write_text("half")
    with own(tmp_path):
        assert not list(tmp_path.glob(".*.tmp"))
