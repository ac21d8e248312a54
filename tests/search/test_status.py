"""How sweeps stand, from their storage alone."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState

from lllm.search.storage import open_storage
from lllm.search.studies import open_study, standing


def test_every_study_of_the_experiment_with_its_trials_its_best_and_what_runs(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/sweep.db", tmp_path, "tiny")
    sampler = optuna.samplers.RandomSampler(seed=0)
    told = {"experiment": "tiny", "objectives": {"bpb": "lower"}}
    one = open_study(storage, "tiny/one/tune", told, sampler, ["minimize"])
    two = open_study(storage, "tiny/search", {**told, "objectives": {"a": "x"}}, sampler, ["minimize", "maximize"])
    open_study(storage, "other/one/tune", {"experiment": "other"}, sampler, ["minimize"])
    rate: dict[str, BaseDistribution] = {"train.lr": FloatDistribution(0.1, 1.0)}
    for value in (3.0, 2.0, 2.0):  # the first of two that are equally good
        one.add_trial(optuna.create_trial(params={"train.lr": value / 4}, distributions=rate, value=value))
    one.add_trial(optuna.create_trial(state=TrialState.FAIL))
    for reason in ("infeasible", "reason"):
        one.add_trial(optuna.create_trial(state=TrialState.PRUNED, user_attrs={reason: "because"}))
    with pytest.warns(UserWarning, match="Heartbeat"):  # the driver beats
        running = one.ask(rate)
    one.enqueue_trial({"train.lr": 0.2})  # for a larger target
    running.set_user_attr("run", "tiny/one/abc/s1000")
    for values in ((1.0, 1.0), (2.0, 2.0), (3.0, 0.0)):
        two.add_trial(optuna.create_trial(values=list(values)))
    first, second = standing(storage, "tiny")
    assert (first["study"], first["trials"]) == (
        "tiny/one/tune",
        {"complete": 3, "fail": 1, "infeasible": 1, "pruned": 1, "running": 1},  # as the sweep counts them
    )
    assert first["best"] == [{"number": 1, "values": [2.0], "params": {"train.lr": 0.5}}]
    (now,) = first["running"]
    assert (now["number"], now["run"], now["params"]) == (6, "tiny/one/abc/s1000", running.params)
    assert 0 <= now["seconds"] < 60
    assert [trial["number"] for trial in second["best"]] == [0, 1]
    assert second["objectives"] == {"a": "x"}
