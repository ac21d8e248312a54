"""Steps of a budget of seconds."""

from __future__ import annotations

import shlex
import shutil
from typing import Any

import pytest

from lllm.launch import begin as steps
from lllm.launch.begin import timed
from lllm.launch.execute import rehearse
from lllm.launch.machine import machine_of_run, threads_each, threads_of
from lllm.results.files import write_json
from lllm.results.run import Run
from lllm.train.worker import INFO, unpacked
from tests.launch.helpers import TINY, Place, outcome, todo


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each measurement finds another number of steps, on one machine."""
    times: list[int] = []

    def measure(*arguments: Any) -> int:
        times.append(1)
        return 5 + len(times)

    monkeypatch.setattr(steps, "measured_steps", measure)
    return times


def test_seconds_are_measured_once_and_frozen(place: Place, measured: list[int]) -> None:
    seconds = "budget={seconds: 3}"
    plan = place.plan(seconds, seeds=(0, 1))
    assert [run.arm.steps for run in plan.runs] == [None, None]
    assert len({run.arm.identity for run in plan.runs}) == 1
    _, watch = place.train(plan)
    assert watch.begun == [("base/s0", 6), ("base/s1", 6)]  # a row's seeds are trained alike
    assert [Run(run.path).info["steps"] for run in plan.runs] == [6, 6]
    path = plan.runs[0].path
    before = outcome(path)
    (path / "result.json").unlink()
    (path / "status.json").write_text('{"state": "interrupted"}')
    again = place.plan(seconds)
    assert todo(again) == {"base/s0": ("continue", "")}
    assert place.train(again)[1].begun == [("base/s0", 6)]
    assert outcome(path) == before
    assert len(measured) == 1
    on = [Run(run.path).info["machine"] for run in plan.runs]
    assert on[0] == on[1] == machine_of_run(plan.runs[0].arm.resolved)


def test_seconds_are_measured_anew_on_another_machine_or_with_other_code(place: Place, measured: list[int]) -> None:
    seconds = "budget={seconds: 3}"
    place.train(place.plan(seconds))
    path = place.plan(seconds).runs[0].path
    info = Run(path).info
    for seed, change in enumerate(
        ({"machine": {"device": "other"}}, {"fingerprints": {}}, {"trial": {"number": 0}}), 1
    ):
        write_json(path / "run.json", {**info, **change})
        place.train(place.plan(seconds, seeds=(seed,)))
        shutil.rmtree(path.with_name(f"s{seed}"))
    assert len(measured) == 4


def test_a_measurement_is_a_positive_number_of_steps(place: Place) -> None:
    plan = place.plan("budget={seconds: 0.001}")
    _, watch = place.train(plan)
    assert watch.ends == [("base/s0", "finished", "")]
    assert Run(plan.runs[0].path).info["steps"] == 1


def test_all_arms_are_measured_before_anything_trains(place: Place, measured: list[int]) -> None:
    place.write(TINY + "variants: {a: {}, b: {model.width: 8}}\n")
    seconds = "budget={seconds: 3}"
    said: list[str] = []
    plan = timed(place.plan(seconds, seeds=(0, 1)), said.append)
    assert said == ["measuring a step of a", "measuring a step of b"]
    assert {run.name: run.arm.steps for run in plan.runs} == {"a/s0": 6, "b/s0": 7, "a/s1": 6, "b/s1": 7}
    assert place.train(plan)[1].begun == [("a/s0", 6), ("b/s0", 7), ("a/s1", 6), ("b/s1", 7)]
    said.clear()
    timed(place.plan(seconds, seeds=(0, 1)), said.append)  # all of it is finished
    assert not said
    later = timed(place.plan(seconds, seeds=(2,)), said.append)
    assert [run.arm.steps for run in later.runs] == [6, 7]
    assert len(measured) == 2


def test_runs_that_share_the_machine_are_measured_with_their_share(place: Place) -> None:
    alone, shared = (place.plan(f"run.workers={workers}").runs[0].arm.resolved for workers in (1, 2))
    assert machine_of_run(shared) == {**machine_of_run(alone), "threads": threads_each(2)}
    assert threads_of(place.plan("run.workers=2", "run.threads=3").runs[0].arm.resolved) == 3


def test_the_commands_of_a_dry_run_train_the_seeds_of_an_arm_alike(place: Place, measured: list[int]) -> None:
    commands = list(rehearse(place.plan("budget={seconds: 3}", seeds=(0, 1))))
    words = [shlex.split(command) for command in commands]
    assert [unpacked(line[line.index(INFO) + 1])["steps"] for line in words] == [6, 6]
    assert len(measured) == 1
