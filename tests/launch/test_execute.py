"""Runs as real processes: interrupted and continued, several at once, two processes each."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from lllm.errors import UserError
from lllm.launch.execute import execute, rehearse, worker_command
from lllm.results.files import read_metrics
from lllm.results.ownership import own
from lllm.results.run import Run
from lllm.train.worker import main as worker
from tests.launch.helpers import TINY, Place, Watch, outcome, todo

OFTEN = ["run.checkpoint_seconds=0.05", "run.log_every=10"]
LONG = ["budget={steps: 200}", "run.eval_every=100", *OFTEN]


def wait_for(ready: Callable[[], bool], what: str, process: subprocess.Popen[str] | None = None) -> None:
    """Until it is so; a minute is far more than it takes."""
    end = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < end, f"never: {what}"
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended before {what}: {process.communicate()}")
        time.sleep(0.02)


def begun(path: Path) -> Callable[[], bool]:
    """Whether the run at `path` has a checkpoint."""
    return lambda: any((path / "checkpoint").glob("[0-9]*"))


def same_as_uninterrupted(place: Place, words: list[str], path: Path) -> None:
    """Compare with the same run elsewhere, in this process, never interrupted."""
    plan = place.plan(*words, "run.results=whole")
    place.train(plan)
    assert outcome(path) == outcome(plan.runs[0].path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_how_to_go_on_and_goes_on(place: Place, number: signal.Signals) -> None:
    path = place.plan(*LONG).runs[0].path
    process = place.start("run", "tiny", *LONG)
    wait_for(begun(path), "a checkpoint", process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "to continue: lllm run tiny" in said.lower()
    assert "Traceback" not in said
    stopped = int(said.split("stopped after step ")[1].split()[0])
    assert json.loads((path / "status.json").read_text())["state"] == "interrupted"
    plan = place.plan(*LONG)
    assert todo(plan) == {"base/s0": ("continue", "")}
    fine, watch = place.train(plan)
    assert fine
    assert watch.records[0][1]["step"] > stopped  # it went on from there
    same_as_uninterrupted(place, LONG, path)


def test_killed_workers_go_with_their_starter_and_are_continued(place: Place) -> None:
    """Three runs, two at once; continued, two of them from where they were, they take turns."""
    words = ["budget={steps: 300}", "run.eval_every=1000", "run.log_every=10"]
    plan = place.plan(*words, seeds=(0, 1, 2))
    command = ["run", "tiny", *words, "--seeds", "0,1,2", "--workers", "2"]
    process = place.start(*command, "run.checkpoint_seconds=0.05")
    for run in plan.runs[:2]:
        wait_for(begun(run.path), "a checkpoint", process)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(child.is_running() for child in below), "the workers' end")
    left = todo(place.plan(*words, seeds=(0, 1, 2)))
    assert left == {"base/s0": ("continue", ""), "base/s1": ("continue", ""), "base/s2": ("train", "")}
    code, _, said = place.lllm(*command)
    assert code == 0, said
    assert set(todo(place.plan(*words, seeds=(0, 1, 2))).values()) == {("finished", "")}
    for run in plan.runs:
        assert Run(run.path).info["config"]["execution"]["shared_timing"] is True
    same_as_uninterrupted(place, words, plan.runs[0].path)


def test_stopped_workers_save_their_state(place: Place) -> None:
    words = ["budget={steps: 2000}", "run.eval_every=1000", *OFTEN]
    plan = place.plan(*words, seeds=(0, 1))
    process = place.start("run", "tiny", *words, "--seeds", "0,1", "--workers", "2")
    for run in plan.runs:
        wait_for(begun(run.path), "a checkpoint", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.count("interrupted") == 2
    for run in plan.runs:
        assert json.loads((run.path / "status.json").read_text())["state"] == "interrupted"
        assert "KeyboardInterrupt" not in (run.path / "worker.log").read_text()


def test_two_processes_agree_with_one(place: Place) -> None:
    """50 steps by torchrun and the same in this process: to float32 round-off, of which Muon's iteration makes more in
    the weights and none in what they predict."""
    place.write(TINY + "variants: {adamw: {train.optimizer: adamw}, muon: {train.optimizer: muon}}\n")
    words = ["budget={steps: 50}", "run.log_every=5", "train.batch=6", "train.lr=0.003"]
    plan = place.plan(*words)
    code, _, said = place.lllm("run", "tiny", *words, "--nproc", "2")
    assert code == 0, said
    one = place.plan(*words, "run.results=one")
    place.train(one)
    for run, alone, tolerance in zip(plan.runs, one.runs, (1e-5, 1e-3), strict=True):
        assert Run(run.path).info["arm"] == run.arm.identity
        left, right = outcome(run.path), outcome(alone.path)
        assert [line["step"] for line in left[0]] == [line["step"] for line in right[0]]
        for ours, theirs in zip(left[0], right[0], strict=True):
            for key in {"loss", "bpb"} & ours.keys():
                assert ours[key] == pytest.approx(theirs[key], rel=1e-4)
            assert all(ours[key] == theirs[key] for key in {"tokens", "bytes", "flops"} & ours.keys())
        for name, values in left[1].items():
            weight, other = np.array(values), np.array(right[1][name])
            assert np.linalg.norm(weight - other) <= tolerance * np.linalg.norm(other), name
        assert left[2]["bpb"] == pytest.approx(right[2]["bpb"], rel=1e-4)


@pytest.mark.slow
def test_two_processes_are_stopped_and_continued(place: Place) -> None:
    words = ["budget={steps: 150}", "run.eval_every=1000", *OFTEN]
    path = place.plan(*words).runs[0].path
    process = place.start("run", "tiny", *words, "--nproc", "2")
    wait_for(begun(path), "a checkpoint", process)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) == 3  # torchrun and its two
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "base/s0: interrupted" in said
    assert not any(child.is_running() for child in below)
    step = max(int(p.name) for p in (path / "checkpoint").glob("[0-9]*"))
    code, _, said = place.lllm("run", "tiny", *words, "--nproc", "2")
    assert code == 0, said
    steps = [line["step"] for line in read_metrics(path / "metrics.jsonl") if "loss" in line]
    assert steps == list(range(10, 151, 10))
    assert step < 150


def test_a_failing_worker_says_why(place: Place) -> None:
    words = ("train.lr=1e30", "train.clip=null", "train.optimizer=adamw", "budget={steps: 30}")
    plan = place.plan(*words)
    code, _, said = place.lllm("run", "tiny", *words, "--workers", "2")
    assert code == 1
    reason = json.loads((plan.runs[0].path / "status.json").read_text())["reason"]
    assert f"base/s0: failed: {reason}" in said
    assert "Traceback" not in said


def test_a_run_that_another_process_owns_is_left_alone(place: Place) -> None:
    """This process holds it; the other one says who, and trains what is free."""
    plan = place.plan(seeds=(0, 1))
    with own(plan.runs[0].path):
        code, out, said = place.lllm("run", "tiny", "--seeds", "0,1")
        assert code == 0, said
        assert "base/s0" in out
        assert f"process {os.getpid()}" in out + said
        assert not (plan.runs[0].path / "run.json").exists()
    assert Run(plan.runs[1].path).finished
    assert todo(place.plan(seeds=(0, 1)))["base/s1"] == ("finished", "")


def test_what_another_process_has_finished_meanwhile_is_taken_as_it_is(place: Place) -> None:
    mine, theirs = place.plan(), place.plan()
    place.train(theirs)
    before = outcome(mine.runs[0].path)
    stamp = (mine.runs[0].path / "run.json").stat().st_mtime_ns
    fine, watch = place.train(mine)
    assert fine
    assert watch.begun == []
    assert watch.ends == [("base/s0", "finished", "")]
    assert outcome(mine.runs[0].path) == before
    assert (mine.runs[0].path / "run.json").stat().st_mtime_ns == stamp


def test_what_another_process_has_trained_anew_is_not_retired(place: Place) -> None:
    first = place.plan()
    place.train(first)
    file = first.runs[0].path / "run.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "fingerprints": {**info["fingerprints"], "data": "of another day"}}))
    mine, theirs = place.plan(), place.plan()
    place.train(theirs)
    before = outcome(mine.runs[0].path)
    fine, watch = place.train(mine)
    assert (fine, watch.begun) == (True, [])
    assert outcome(mine.runs[0].path) == before
    assert sorted(p.name for p in mine.runs[0].path.parent.iterdir()) == ["s0", "s0.stale"]


def test_wandb_that_is_missing_is_refused_before_anything_is_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    plan = place.plan("wandb=offline")
    with pytest.raises(UserError, match=r'pip install "lllm\[wandb\]"'):
        execute(plan, Watch())
    assert not Path("results").exists()


def test_wandb_is_not_imported_unless_asked_for(place: Place) -> None:
    (place.path / "wandb.py").write_text("open('imported', 'w').close()\n")
    assert place.lllm("run", "tiny")[0] == 0
    assert not (place.path / "imported").exists()


def test_commands(place: Place) -> None:
    one, two = place.plan().runs[0], place.plan("run.nproc=2").runs[0]
    assert worker_command(one) == [sys.executable, "-m", "lllm.train.worker", str(one.path)]
    assert worker_command(two)[:3] == [sys.executable, "-m", "torch.distributed.run"]
    many = place.plan("run.nnodes=2", "run.nproc=2", "run.launcher={use: torchrun, endpoint: 'a:1'}").runs[0]
    assert {"--nnodes=2", "--nproc-per-node=2", "--rdzv-endpoint=a:1"} <= set(worker_command(many))
    with pytest.raises(UserError, match=r"run\.nnodes = 2: .* starts one machine"):
        worker_command(place.plan("run.nnodes=2").runs[0])


def test_two_torchruns_at_once_do_not_meet(place: Place) -> None:
    plan = place.plan("run.launcher=torchrun", seeds=(0, 1))
    ids = [word for run in plan.runs for word in worker_command(run) if word.startswith("--rdzv-id=")]
    assert len(set(ids)) == 2
    assert all("--rdzv-endpoint=localhost:0" in worker_command(run) for run in plan.runs)  # any free port
    code, _, said = place.lllm("run", "tiny", "--seeds", "0,1", "--launcher", "torchrun", "--workers", "2")
    assert code == 0, said
    assert all(Run(run.path).finished for run in plan.runs)


def test_several_machines_need_an_address(place: Place) -> None:
    words = ("run.launcher=torchrun", "run.nnodes=2")
    with pytest.raises(UserError, match=r"expected run\.launcher\.endpoint=HOST:PORT"):
        worker_command(place.plan(*words).runs[0])
    lines = list(rehearse(place.plan(*words)))
    assert lines[0].startswith("# run.launcher.endpoint = 'localhost:0': 2 machines")
    assert "--rdzv-endpoint=HOST:PORT" in lines[1]
    assert "--rdzv-endpoint=a:1" in next(rehearse(place.plan(*words, "run.launcher.endpoint=a:1")))


def test_the_command_of_a_dry_run_trains_the_run(place: Place) -> None:
    run = place.plan().runs[0]
    before = sorted(place.path.rglob("*"))
    code, out, said = place.lllm("run", "tiny", "--nproc", "2", "--dry-run")
    assert code == 0, said
    assert sorted(place.path.rglob("*")) == before
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = shlex.split(out.strip().splitlines()[-1])
    subprocess.run(command, cwd=place.path, env=environment, check=True, capture_output=True, timeout=120)
    assert Run(run.path).finished
    assert todo(place.plan()) == {"base/s0": ("finished", "")}


def test_a_dry_run_moves_nothing_aside(place: Place) -> None:
    place.train(place.plan())
    before = sorted(place.path.rglob("*"))
    (line,) = rehearse(place.plan(force=True))
    assert line.startswith("# base/s0: --force; give the command without --dry-run")
    assert sorted(place.path.rglob("*")) == before


def test_a_command_that_was_cut_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = rehearse(place.plan())
    word = shlex.split(line)[-1]
    path = place.plan().runs[0].path
    assert worker(str(path), word[:-9]) == 2
    assert "damaged; expected the whole line that --dry-run printed" in capsys.readouterr().err
    assert not path.exists()
    assert worker(str(path), word) == 0
    assert todo(place.plan()) == {"base/s0": ("finished", "")}
