"""A run directory: what it says, in what state it is, and how it makes room."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lllm.errors import UserError
from lllm.results.committed import load_records, write_committed
from lllm.results.files import write_json
from lllm.results.run import Run, check_writable, create, retire, retire_damaged, run_path
from lllm.results.state import identity
from tests.results.conftest import MakeRun, arm, even, info


def test_a_run_reads_its_files(make_run: MakeRun, root: Path) -> None:
    run = make_run("small", 3, 2.5, name="mine")
    assert run.path == run_path(root, "study", "small", arm("small"), 3)
    assert run.name == f"study/small/{arm('small')[:8]}/s3"
    assert (run.experiment, run.variant, run.arm, run.seed, run.label) == ("study", "small", arm("small"), 3, "mine")
    assert run.finished
    assert run.result is not None
    assert run.result["bpb"] == 2.5
    assert [record["step"] for record in run.metrics()] == [1, 2, 3, 4, 4]
    read, wrote = run.documents(), even(2.5)
    np.testing.assert_array_equal(read.hash, wrote.hash)
    np.testing.assert_array_equal(read.nats["exact"], wrote.nats["exact"])


def test_damage_is_named(make_run: MakeRun) -> None:
    run = make_run("small")
    (run.path / "documents.npz").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"documents\.npz: damaged"):
        run.documents()
    (run.path / "run.json").write_text("[]")
    with pytest.raises(UserError, match=r"run\.json: expected a JSON object"):
        _ = Run(run.path).info
    (run.path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="no 'variant'"):
        _ = Run(run.path).variant


def _dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.mark.parametrize(
    ("status", "age", "expected"),
    [
        (None, 0, "empty"),
        ({"state": "failed", "reason": "loss is NaN"}, 0, "failed"),
        ({"state": "pruned", "rule": "median"}, 0, "pruned"),
        ({"state": "interrupted"}, 0, "interrupted"),
        ({"state": "running", "alive": True}, 1000, "running"),
        ({"state": "running", "alive": False}, 0, "interrupted"),
        ({"state": "running", "pid": 1, "host": "another", "machine": "m"}, 5, "running"),
        ({"state": "running", "pid": 1, "host": "another", "machine": "m"}, 61, "interrupted"),
        ({"state": "running", "reused": True}, 0, "interrupted"),
    ],
)
def test_states(make_run: MakeRun, status: dict[str, Any] | None, age: float, expected: str) -> None:
    run = make_run("small", bpb=None)
    if status is not None:
        if "alive" in status:
            status = {**status, **identity(), **({} if status["alive"] else {"pid": _dead_pid()})}
        if "reused" in status:
            status = {**status, **identity(), "started": 1.0}  # the pid lives, but it is another process
        write_json(run.path / "status.json", status)
        then = time.time() - age
        os.utime(run.path / "status.json", (then, then))
    assert run.state == expected
    write_json(run.path / "result.json", {"bpb": 1.0})
    assert run.state == "finished"


def test_create_refuses_the_place_of_another_arm(root: Path) -> None:
    first, second = "0" * 32, "0" * 8 + "1" * 24
    path = run_path(root, "study", "small", first, 0)
    create(path, info("small", first, 0))
    create(path, info("small", first, 0))
    with pytest.raises(UserError, match="holds arm 0000"):
        create(path, info("small", second, 0))
    assert Run(path).arm == first


def test_retire_keeps_every_old_directory(make_run: MakeRun) -> None:
    run = make_run("small")
    first = retire(run.path, "stale")
    make_run("small", bpb=2.4)
    second = retire(run.path, "stale")
    assert (first.name, second.name) == ("s0.stale", "s0.stale2")
    assert not run.path.exists()
    assert Run(first).result != Run(second).result


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "results")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(tmp_path / "file")


@pytest.mark.parametrize("content", ["{nonsense", "[]", '{"arm": "a"}'])
def test_a_damaged_run_is_set_aside_and_listed_once(make_run: MakeRun, root: Path, content: str) -> None:
    run = make_run("flat", 0)
    assert retire_damaged(run.path) is None
    write_committed(root, "study", load_records(root, "study"))
    (run.path / "run.json").write_text(content)
    (record,) = load_records(root)
    assert record.path == run.path
    moved = retire_damaged(run.path)
    assert moved == run.path.with_name("s0.damaged")
    assert (moved / "result.json").is_file()
    assert not run.path.exists()
    assert retire_damaged(run.path) is None
    make_run("flat", 0, 2.0)
    assert len([r for r in load_records(root) if r.path == run.path or r.path is None]) == 1
