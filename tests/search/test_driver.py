"""Studies served by runs: mostly by stand-ins that write what a run writes, once by real ones."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from lllm.errors import BuildError, UserError
from lllm.launch.plan import Planned
from lllm.results.files import read_metrics
from lllm.results.run import Run
from lllm.search import serving
from lllm.search.driver import Job, drive
from lllm.search.urls import StorageError
from tests.launch.helpers import TINY, Place, Watch
from tests.search.helpers import LR, Sweep, facts, fixed, served, slow, stand_in
from tests.search.standin import RECORDS, final

TOY = '''\
from lllm.registry import PartConfig, register
from lllm.train.contracts import Objective


@register("objective", "toy_breaks")
class Breaks(Objective):
    """Raises in a step."""

    class Config(PartConfig):
        """No options."""

    def weights(self, out, batch, progress, last):
        raise ZeroDivisionError("as a part may")
'''


@pytest.fixture
def sweep(place: Place) -> Sweep:
    return Sweep()


def test_two_studies_of_real_runs(place: Place) -> None:
    """Both end with exactly their targets, what they are told is what the files say, and nothing is trained twice."""
    place.write(TINY + "variants: {base: {}, deep: {model.trunk.depth: 2}}\n")
    sweep = Sweep()
    studies = {name: sweep.study(name, sampler=RandomSampler(seed=k)) for k, name in enumerate(("base", "deep"))}
    watch = Watch()
    jobs = [sweep.job(studies["base"], 3), sweep.job(studies["deep"], 2, variant="deep")]
    outcome = drive(jobs, workers=2, plan=sweep.plan, watcher=watch)
    assert outcome.states == {"base": {"complete": 3}, "deep": {"complete": 2}}
    assert 0 < outcome.cpu_seconds < outcome.seconds
    places = [attributes["run"] for study in studies.values() for _, _, attributes in facts(study)]
    assert len(set(places)) == 5
    for place_of_run in places:
        run = Run(Path("results") / place_of_run)
        assert run.state == "finished"
        assert run.info["config"]["execution"]["shared_timing"] is True
    for study in studies.values():
        for trial in study.trials:
            assert (trial.user_attrs["arm"], trial.user_attrs["seed"]) == (
                Run(Path("results") / trial.user_attrs["run"]).arm,
                1000,
            )
            run_said = {
                m["step"]: m["bpb"]
                for m in read_metrics(Path("results", trial.user_attrs["run"], "metrics.jsonl"))
                if "bpb" in m
            }
            assert trial.intermediate_values == run_said
    assert sorted(name for name, state, _ in watch.ends if state == "finished") == 3 * ["base/s1000"] + 2 * [
        "deep/s1000"
    ]


def test_studies_advance_together(sweep: Sweep) -> None:
    """The one that is least far is next, so that a sweep that is cut short has given all the same."""
    order: list[str] = []

    def noted(name: str, rates: list[float]) -> Job:
        job = fixed(sweep, sweep.study(name), rates)

        def propose(trial: optuna.Trial) -> Planned:
            order.append(name)
            return job.propose(trial)

        return Job(job.study, job.target, propose, job.values, job.replan)

    served(sweep, noted("a", [0.01, 0.02, 0.03]), noted("b", [0.04, 0.05, 0.06]), workers=1)
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_what_is_infeasible_is_told_and_counts(sweep: Sweep) -> None:
    def refuse(trial: optuna.Trial) -> Planned:
        rate = trial.suggest_float(LR, 1e-4, 1e-1, log=True)
        if trial.number == 1:
            raise UserError("model.width = 17: no even number")
        if trial.number == 2:
            raise BuildError("mixer 'x': ZeroDivisionError")
        return sweep.planned("base", rate)

    study = sweep.study("a")
    outcome, watch = served(sweep, sweep.job(study, 4, propose=refuse))
    assert outcome.states == {"a": {"complete": 2, "pruned": 2}}
    assert [trial.user_attrs.get("infeasible") for trial in study.trials] == [
        None,
        "model.width = 17: no even number",
        "mixer 'x': ZeroDivisionError",
        None,
    ]
    assert len(watch.begun) == 2


@pytest.mark.parametrize("error", [StorageError("gone"), UserError("results: the disk is full")])
def test_a_place_that_fails_is_no_trials_fault(sweep: Sweep, error: UserError) -> None:
    def lose(trial: optuna.Trial) -> Planned:
        raise error from OSError(28, "No space left on device")

    study = sweep.study("a")
    with pytest.raises(UserError, match=str(error)):
        served(sweep, sweep.job(study, 2, propose=lose))
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]


def test_failing_runs_say_why(place: Place) -> None:
    """A part that raises fails its trial, a learning rate at which the loss explodes prunes it."""
    (place.path / "toy.py").write_text(TOY)
    place.write(
        TINY + "variants: {base: {}, breaks: {train.objective: toy_breaks}, "
        "explodes: {train.clip: null, train.optimizer: adamw, budget: {steps: 30}}}\n"
    )
    sweep = Sweep(plugins=[place.path / "toy.py"])
    breaks, explodes = sweep.study("breaks"), sweep.study("explodes")

    def far(trial: optuna.Trial) -> Planned:
        return sweep.planned("explodes", trial.suggest_float(LR, 1e29, 1e31))

    jobs = [sweep.job(breaks, 1, variant="breaks"), sweep.job(explodes, 1, propose=far)]
    watch = Watch()
    outcome = drive(jobs, workers=2, plan=sweep.plan, watcher=watch)
    assert outcome.states == {"breaks": {"fail": 1}, "explodes": {"pruned": 1}}
    reason = breaks.trials[0].user_attrs["reason"]
    assert reason.startswith("ZeroDivisionError: as a part may (")
    assert explodes.trials[0].user_attrs["reason"].startswith(("the loss is ", "the gradient's norm is "))
    assert sorted(end[1] for end in watch.ends) == ["failed", "pruned"]
    run = Run(Path("results") / breaks.trials[0].user_attrs["run"])
    assert run.status == {"state": "failed", "reason": reason}


def test_the_training_process_knows_nothing_of_it() -> None:
    code = "import sys, lllm.train.worker; sys.exit(any(name in sys.modules for name in ('optuna', 'lllm.search')))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_trials_of_two_processes_each(place: Place) -> None:
    sweep = Sweep("run.nproc=2")
    study = sweep.study("a")
    outcome = drive([sweep.job(study, 2)], workers=1, plan=sweep.plan, watcher=Watch())
    assert outcome.states == {"a": {"complete": 2}}
    facts(study)


def test_a_value_that_is_no_number_ends_a_trial_at_any_time(sweep: Sweep) -> None:
    """The first of its study: no median is needed for that."""

    def nonsense(run: Planned) -> list[str]:
        lines = [{"step": 1, "bpb": 8.0}, {"step": 2, "loss": None}, {"step": 3, "bpb": None}]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        return ["sh", "-c", f"echo '{text}' >> '{run.path}/metrics.jsonl'; exec sleep 60"]

    study = sweep.study("a")
    outcome, watch = served(sweep, sweep.job(study, 1), command=nonsense)
    assert outcome.states == {"a": {"pruned": 1}}
    (trial,) = study.trials
    assert trial.user_attrs["reason"] == "diverged: bpb is not finite at step 3"
    assert trial.intermediate_values == {1: 8.0}
    run = Run(Path("results") / trial.user_attrs["run"])
    assert run.state == "pruned"
    assert run.status == {"state": "pruned", "rule": "diverged: bpb is not finite at step 3", "study": "a"}
    assert watch.ends == [("base/s1000", "pruned", "diverged: bpb is not finite at step 3")]


def test_a_field_that_was_never_a_number_is_no_divergence(sweep: Sweep) -> None:
    """A head without a likelihood has no bits per byte in any record."""

    def silent(run: Planned) -> list[str]:
        return [
            "sh",
            "-c",
            f"""cd '{run.path}'; echo '{{"step": 3, "bpb": null}}' >> metrics.jsonl; sleep 0.5
        echo '{{"bpb": 1.5}}' > result.json""",
        ]

    study = sweep.study("a")
    outcome, _ = served(sweep, sweep.job(study, 1), command=silent)
    assert outcome.states == {"a": {"complete": 1}}


GOOD, BAD = [0.01, 0.011, 0.009, 0.012], 0.0005


def test_pruning_is_by_the_study_itself(sweep: Sweep) -> None:
    """A bad trial is pruned once enough of its own study are complete; another study, in which the same trial is the
    first, is not touched, and the run that the other one pruned is gone on with there."""
    slow(0.3)
    one, two = sweep.study("one"), sweep.study("two")
    outcome, watch = served(sweep, fixed(sweep, one, [*GOOD, BAD], prune_after=4), workers=4)
    assert outcome.states == {"one": {"complete": 4, "pruned": 1}}
    trial = one.trials[4]
    run = Run(Path("results") / trial.user_attrs["run"])
    assert trial.state is TrialState.PRUNED
    assert trial.user_attrs["reason"].startswith("worse than the median of this study's trials at step ")
    assert run.status == {"state": "pruned", "rule": trial.user_attrs["reason"], "study": "one"}
    assert len(run.metrics()) < RECORDS
    assert ("base/s1000", "pruned", trial.user_attrs["reason"]) in watch.ends
    outcome, _ = served(sweep, fixed(sweep, two, [BAD], prune_after=4))
    assert outcome.states == {"two": {"complete": 1}}
    assert run.state == "finished"


@pytest.mark.parametrize("after", [None, 5])
def test_nothing_is_pruned_before_its_time(sweep: Sweep, after: int | None) -> None:
    """The very trials of which the last is pruned after four."""
    study = sweep.study("a")
    outcome, _ = served(sweep, fixed(sweep, study, [*GOOD, BAD], prune_after=after))
    assert outcome.states == {"a": {"complete": 5}}


def test_several_objectives_are_told_and_none_is_reported(sweep: Sweep) -> None:
    study = sweep.study("a", objectives=2)
    job = sweep.job(study, 3, values=lambda result: [result["bpb"], result["steps"]], prune_after=1)
    outcome, _ = served(sweep, job)
    assert outcome.states == {"a": {"complete": 3}}
    assert all(trial.values[1] == 6 and not trial.intermediate_values for trial in study.trials)
    facts(study)


@pytest.mark.parametrize(("value", "said"), [(math.nan, "its values are nan"), (None, "metric 'x': None")])
def test_a_result_without_the_values_fails_its_trial(sweep: Sweep, value: float | None, said: str) -> None:
    def values(result: Mapping[str, Any]) -> list[float]:
        if value is None:
            raise UserError("metric 'x': None")
        return [value]

    study = sweep.study("a")
    outcome, _ = served(sweep, sweep.job(study, 1, values=values))
    assert outcome.states == {"a": {"fail": 1}}
    assert study.trials[0].user_attrs["reason"].startswith(said)


def test_trials_of_the_same_run_share_it(sweep: Sweep) -> None:
    """One after the other it is told from the files; at the same time it waits for the other."""
    slow(0.05)
    study = sweep.study("a")
    outcome, watch = served(sweep, fixed(sweep, study, [0.01, 0.01, 0.01]))
    assert outcome.states == {"a": {"complete": 3}}
    assert len(watch.begun) == 1
    assert [trial.values for trial in study.trials] == [[final(0.01)]] * 3
    assert all(len(trial.intermediate_values) > 3 for trial in study.trials)  # a median of the study needs them


def test_more_jobs_are_served_when_they_are_asked_for(sweep: Sweep) -> None:
    one, two, asked = sweep.study("one"), sweep.study("two", sampler=RandomSampler(seed=1)), []

    def more() -> list[Job]:
        asked.append([len(study.trials) for study in (one, two)])
        return [[sweep.job(one, 3), sweep.job(two, 1)], []][len(asked) - 1]

    outcome, _ = served(sweep, sweep.job(one, 2), more=more)
    assert asked == [[2, 0], [3, 1]]
    assert outcome.states == {"one": {"complete": 3}, "two": {"complete": 1}}


def test_a_served_study_costs_nothing(sweep: Sweep) -> None:
    study = sweep.study("a")
    served(sweep, sweep.job(study, 2))
    outcome, watch = served(sweep, sweep.job(study, 2))
    assert outcome.states == {"a": {"complete": 2}}
    assert watch.begun == watch.ends == []


def test_time_that_is_up_leaves_trials_to_be_continued(sweep: Sweep) -> None:
    slow(0.5)
    study = sweep.study("a")
    outcome, watch = served(sweep, sweep.job(study, 3), timeout=2.5)
    assert outcome.late
    assert outcome.states == {"a": {"running": 2}}
    assert [state for _, state, _ in watch.ends] == ["interrupted"] * 2
    before = {t.user_attrs["run"]: len(Run(Path("results") / t.user_attrs["run"]).metrics()) for t in study.trials}
    outcome, _ = served(sweep, sweep.job(study, 3))
    assert not outcome.late
    assert outcome.states == {"a": {"complete": 3}}
    for run, count in before.items():
        assert count < RECORDS
        assert [line["step"] for line in Run(Path("results") / run).metrics()] == [round(k * 0.6) for k in range(1, 11)]


def test_a_signal_saves_everything(sweep: Sweep) -> None:
    slow(0.3)
    study = sweep.study("a")

    class Impatient(Watch):
        def record(self, run: Planned, record: Mapping[str, Any]) -> None:
            if not self.records:
                os.kill(os.getpid(), signal.SIGTERM)
            super().record(run, record)

    with pytest.raises(KeyboardInterrupt):
        drive([sweep.job(study, 2)], workers=1, plan=sweep.plan, watcher=Impatient(), command=stand_in)
    (trial,) = study.trials
    assert trial.state is TrialState.RUNNING
    assert Run(Path("results") / trial.user_attrs["run"]).state == "interrupted"
    assert served(sweep, sweep.job(study, 2))[0].states == {"a": {"complete": 2}}


def test_a_killed_run_is_continued_and_one_that_always_dies_fails(sweep: Sweep) -> None:
    starts: list[Path] = []

    def dies(run: Planned) -> list[str]:
        starts.append(run.path)
        return ["sh", "-c", "kill -9 $$"] if len(starts) < lives else stand_in(run)

    lives = serving.LIVES
    study = sweep.study("a")
    outcome, _ = served(sweep, sweep.job(study, 1), command=dies)
    assert outcome.states == {"a": {"complete": 1}}
    assert len(starts) == serving.LIVES
    lives, starts = 99, []
    outcome, _ = served(sweep, sweep.job(study, 2), command=dies)
    assert outcome.states == {"a": {"complete": 1, "fail": 1}}
    assert len(starts) == serving.LIVES
    assert study.trials[1].user_attrs["reason"].startswith("the process ended without a word (")


@pytest.mark.parametrize(("times", "state"), [(1, "complete"), (2, "fail")])
def test_a_run_that_refuses_is_asked_once_more(sweep: Sweep, times: int, state: str) -> None:
    """It may be that another driver held its directory for a moment."""
    starts: list[Path] = []

    def refuses(run: Planned) -> list[str]:
        starts.append(run.path)
        return ["sh", "-c", "echo 'error: no' >&2; exit 2"] if len(starts) <= times else stand_in(run)

    study = sweep.study("a")
    outcome, _ = served(sweep, sweep.job(study, 1), command=refuses)
    assert outcome.states == {"a": {state: 1}}
    assert len(starts) == 2
    assert study.trials[0].user_attrs.get("reason", "no").startswith("no")


def test_a_disk_that_is_full_is_no_trials_fault(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise UserError("the disk is full") from OSError(28, "No space left on device")

    monkeypatch.setattr("lllm.launch.begin.create", full)
    study = sweep.study("a")
    with pytest.raises(UserError, match="the disk is full"):
        served(sweep, sweep.job(study, 1))
    assert study.trials[0].state is TrialState.RUNNING
    monkeypatch.undo()


@pytest.fixture(autouse=True)
def _reaped() -> Iterator[None]:
    """No test leaves a process behind."""
    import psutil

    before = set(psutil.Process().children())  # a browser that other tests share, whose own come and go
    yield
    assert set(psutil.Process().children()) <= before
