"""What a driver left is taken over once, and what a living one serves is left to it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from lllm.launch.plan import Planned
from lllm.results.files import write_json
from lllm.results.ownership import own
from lllm.results.run import create
from lllm.results.state import identity
from lllm.search.claims import DRIVER, Claims
from lllm.search.driver import Outcome, drive
from tests.launch.helpers import Place, Watch
from tests.search.helpers import LR, Sweep, facts, served, slow, stand_in


@pytest.fixture
def sweep(place: Place) -> Sweep:
    return Sweep()


def left_by(sweep: Sweep, study: optuna.Study, driver: Mapping[str, Any] | None, rate: float = 0.01) -> FrozenTrial:
    """A trial that a driver has begun and not told. None: it had not come to say who it is."""
    attributes: dict[str, Any] = {}
    if driver is not None:
        run = sweep.planned("base", rate)
        attributes = {DRIVER: dict(driver), "run": os.path.relpath(run.path, "results"), "seed": 1000}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.RUNNING,
            params={LR: rate} if driver else {},
            distributions={LR: FloatDistribution(1e-4, 1e-1, log=True)} if driver else {},
            user_attrs=attributes,
        )
    )
    trial = study.trials[-1]
    if driver is not None:
        sweep.storage.record_heartbeat(trial._trial_id)
    return trial


def a_dead_process() -> dict[str, Any]:
    return {**identity(), "started": identity()["started"] - 1000}


def elsewhere() -> dict[str, Any]:
    return {"pid": 1, "host": "another", "machine": "another", "started": 0.0}


@pytest.mark.parametrize("driver", [a_dead_process, elsewhere, lambda: None])
def test_what_a_dead_driver_left_is_taken_over(sweep: Sweep, driver: Callable[[], dict[str, Any] | None]) -> None:
    """At once on this machine; after the grace period where only the heartbeat tells; in that case it is not asked for
    again, and no further trial takes its number."""
    study = sweep.study("a")
    left_by(sweep, study, driver())
    began = time.monotonic()
    outcome, _ = served(sweep, sweep.job(study, 2))
    assert outcome.states == {"a": {"complete": 2}}
    assert [number for number, _, _ in facts(study)] == [0, 1]
    if driver is not a_dead_process:
        assert time.monotonic() - began > 3.0


def test_without_taking_over_a_trial_would_be_lost(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the test above can fail."""
    monkeypatch.setattr(Claims, "left", lambda *_: iter(()))
    study = sweep.study("a")
    left_by(sweep, study, a_dead_process())
    outcome, _ = served(sweep, sweep.job(study, 2), timeout=6.0)
    assert outcome.states == {"a": {"complete": 1, "running": 1}}


def test_what_a_living_driver_serves_is_left_to_it(sweep: Sweep) -> None:
    """Its trial counts, is waited for, and is told by nobody else: neither one here, whose process lives, nor one
    elsewhere, whose heart beats."""
    study = sweep.study("a")
    parent = {**identity(), "pid": os.getppid()}
    del parent["started"]
    trials = [left_by(sweep, study, parent), left_by(sweep, study, elsewhere(), 0.02)]
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.5):
            sweep.storage.record_heartbeat(trials[1]._trial_id)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        outcome, watch = served(sweep, sweep.job(study, 3), timeout=5.0)
        assert outcome.states == {"a": {"complete": 1, "running": 2}}
        assert len(watch.begun) == 1
    finally:
        ended.set()
        beating.join()


def test_a_trial_beats_while_it_runs(sweep: Sweep) -> None:
    """Past the grace period, after which another machine would take it over."""
    slow(0.5)
    study, stale, seconds = sweep.study("a"), list[int](), list[float]()

    class Watching(Watch):
        def record(self, run: Planned, record: Mapping[str, Any]) -> None:
            stale.extend(sweep.storage._get_stale_trial_ids(study._study_id))
            seconds.append(time.monotonic())

    drive([sweep.job(study, 1)], workers=1, plan=sweep.plan, watcher=Watching(), command=stand_in)
    assert seconds[-1] - seconds[0] > 3.0
    assert stale == []


def test_a_run_that_was_finished_but_not_told_is_told_without_training(sweep: Sweep) -> None:
    study = sweep.study("a")
    trial = left_by(sweep, study, a_dead_process())
    path = Path("results") / trial.user_attrs["run"]
    create(path, sweep.plan.info(sweep.planned("base", 0.01), 6))
    write_json(path / "result.json", {"bpb": 1.25, "steps": 6})
    outcome, watch = served(sweep, sweep.job(study, 1))
    assert outcome.states == {"a": {"complete": 1}}
    assert study.best_value == 1.25
    assert watch.begun == []
    assert watch.ends == [("base/s1000", "finished", "")]


def test_a_run_that_another_process_trains_is_waited_for(sweep: Sweep) -> None:
    """Neither failed nor tried at every turn, and told when it is done."""
    study = sweep.study("a")
    trial = left_by(sweep, study, a_dead_process())
    path = Path("results") / trial.user_attrs["run"]
    create(path, sweep.plan.info(sweep.planned("base", 0.01), 6))

    def train() -> None:
        with own(path):
            time.sleep(4.0)
            write_json(path / "result.json", {"bpb": 1.5})

    training = threading.Thread(target=train)
    training.start()
    try:
        outcome, watch = served(sweep, sweep.job(study, 1))
    finally:
        training.join()
    assert outcome.states == {"a": {"complete": 1}}
    assert study.best_value == 1.5
    assert [state for _, state, _ in watch.ends] == ["running", "finished"]


def test_two_drivers_that_take_over_the_same_trial_do_not_both_have_it(sweep: Sweep) -> None:
    """The one whose note is there a moment later has it."""
    study = sweep.study("a")
    trial = left_by(sweep, study, a_dead_process())
    other = threading.Timer(0.2, sweep.storage.set_trial_user_attr, (trial._trial_id, DRIVER, elsewhere()))
    other.start()
    assert Claims(study).take(trial) is None
    other.join()
    assert Claims(study).take(study.trials[0]) is not None  # nobody writes now


def test_a_trial_beyond_the_target_goes_back_to_the_queue(sweep: Sweep) -> None:
    """As where two drivers ask for the last one at once: here the other asks in between."""
    study = sweep.study("a")
    job = sweep.job(study, 2)
    ask, asked = study.ask, []

    def ask_late() -> optuna.Trial:
        if not asked:
            asked.extend([study.add_trial(optuna.create_trial(value=0.5)) for _ in range(2)])
        return ask()

    study.ask = ask_late  # type: ignore[method-assign,assignment]
    outcome, watch = served(sweep, job)
    assert outcome.states == {"a": {"complete": 2}}
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "WAITING"]
    assert watch.begun == []
    assert "run" not in study.trials[2].user_attrs
    outcome, watch = served(sweep, sweep.job(study, 3))  # a larger target takes it
    assert outcome.states == {"a": {"complete": 3}}
    assert len(study.trials) == 3


def test_two_drivers_at_once_share_a_study(place: Place) -> None:
    """In two threads of one process, which their marks tell apart."""
    slow(0.1)
    sweeps = [Sweep(), Sweep()]
    outcomes: list[Outcome] = []

    def run(k: int) -> None:
        study = sweeps[k].study("a", sampler=RandomSampler(seed=k))
        outcomes.append(served(sweeps[k], sweeps[k].job(study, 9))[0])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [outcome.states for outcome in outcomes] == [{"a": {"complete": 9}}] * 2
    found = facts(sweeps[0].study("a"))
    assert [number for number, state, _ in found if state == "COMPLETE"] == list(range(9))
    assert len({attributes["run"] for _, state, attributes in found if state == "COMPLETE"}) == 9
