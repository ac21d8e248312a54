"""W&B sees what metrics.jsonl does, when asked, and is not imported otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lllm.errors import UserError
from lllm.train.mirror import check_mirror, mirrored

INFO = {
    "experiment": "quick",
    "variant": "flat",
    "name": None,
    "arm": "ab" * 16,
    "seed": 3,
    "config": {"semantic": {"model": {"width": 16}}, "execution": {}},
}


class FakeWandb(SimpleNamespace):
    """The few names that are used."""

    def __init__(self) -> None:
        super().__init__(started=[], logged=[], ended=[], Error=type("Error", (Exception,), {}))

    def init(self, **options: Any) -> FakeWandb:
        self.started.append({**options, "environment": os.environ.get("WANDB_MODE")})
        return self

    def log(self, record: dict[str, Any], step: int) -> None:
        self.logged.append((step, record))

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_MODE", "whatever")
    return fake


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_every_record_and_the_config_are_mirrored(tmp_path: Path, wandb: FakeWandb, mode: str) -> None:
    told: list[Any] = []
    with mirrored(mode, tmp_path, INFO, told.append) as report:
        report({"step": 1, "loss": 2.5})
        report({"step": 1, "bpb": 3.0})
    assert told == [{"step": 1, "loss": 2.5}, {"step": 1, "bpb": 3.0}]
    assert wandb.logged == [(1, {"step": 1, "loss": 2.5}), (1, {"step": 1, "bpb": 3.0})]
    (started,) = wandb.started
    assert started["config"]["model"] == {"width": 16}
    assert started["config"]["arm"] == INFO["arm"]
    assert started["mode"] == started["environment"] == mode
    assert started["dir"] == str(tmp_path)
    assert wandb.ended == [0]


def test_a_resumed_run_has_the_same_id_and_another_seed_has_not(tmp_path: Path, wandb: FakeWandb) -> None:
    for info in (INFO, INFO, {**INFO, "seed": 4}):
        with mirrored("offline", tmp_path, info, lambda record: None):
            pass
    first, again, other = (started["id"] for started in wandb.started)
    assert first == again != other
    assert {started["resume"] for started in wandb.started} == {"allow"}


def test_a_run_that_fails_says_so(tmp_path: Path, wandb: FakeWandb) -> None:
    with pytest.raises(ValueError, match="boom"), mirrored("offline", tmp_path, INFO, lambda record: None):
        raise ValueError("boom")
    assert wandb.ended == [1]


def test_what_it_refuses_is_one_sentence(tmp_path: Path, wandb: FakeWandb) -> None:
    def init(**options: Any) -> None:
        raise wandb.Error("api_key not configured")

    wandb.init = init  # type: ignore[method-assign, assignment]
    with (
        pytest.raises(UserError, match=r"run\.wandb = 'online': api_key not configured; expected an account"),
        mirrored("online", tmp_path, INFO, lambda record: None),
    ):
        raise AssertionError("not reached")


def test_off_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it would fail
    told: list[Any] = []
    check_mirror("off")
    with mirrored("off", tmp_path, INFO, told.append) as report:
        report({"step": 1})
    assert told == [{"step": 1}]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r'wandb is not installed; .*pip install "lllm\[wandb\]"'):
        check_mirror("offline")
