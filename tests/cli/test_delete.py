"""`lllm delete`: what goes is said, what was begun is known, and no number comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lllm.results.ownership import own
from tests.cli.conftest import Verb, project
from tests.cli.test_run import copy as copy  # the project with its two runs


@pytest.fixture
def study(verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three seeds of both variants, one of which hardly learns; their folder."""
    project(tmp_path)
    file = tmp_path / "experiments" / "tiny.yaml"
    text = file.read_text().replace("four: {model.head: parallel}", "idle: {model.head: parallel, train.lr: 1e-9}")
    file.write_text(text.replace("{steps: 4}", "{steps: 20}"))
    monkeypatch.chdir(tmp_path)
    assert verb("run", "tiny", "--seeds", "0,1,2").code == 0
    return tmp_path / "results" / "tiny"


def row(verb: Verb, variant: str, *more: str) -> Any:
    (table,) = json.loads(verb("compare", "tiny", "--json", *more).out)
    return next(row for row in table["rows"] if row["variant"] == variant)


def test_chosen_seeds_make_no_verdict_whatever_they_are_called_and_whatever_is_deleted(verb: Verb, study: Path) -> None:
    whole = row(verb, "idle")
    assert (whole["verdict"]["word"], whole["seeds"]) == ("worse", [0, 1, 2])
    assert verb("run", "tiny", "--seeds", "0,2", "--as", "best").code == 0
    best = row(verb, "idle", "--as", "best")
    assert (best["seeds"], best["verdict"]["word"]) == ([0, 1, 2], "worse")
    done = verb("delete", "tiny/idle/s1", "--yes")
    assert done.code == 0, done.err
    assert "worse" not in verb("compare", "tiny").out
    for more in ((), ("--as", "best")):
        left = row(verb, "idle", *more)
        assert (left["seeds"], left["unfinished"]) == ([0, 2], {"1": "deleted"})
        assert left["verdict"]["text"] == "no verdict: 2 of 3 planned"
    (plan,) = [run for run in json.loads(verb("run", "tiny", "--seeds", "0,1,2", "--dry-run", "--json").out)["plan"]
               if run["run"] == "idle/s1"]  # fmt: skip
    assert plan["todo"] == "train"
    assert verb("run", "tiny", "--seeds", "1").code == 0
    assert row(verb, "idle")["values"] == whole["values"]


def test_what_goes_is_said_first_and_nothing_goes_without_a_yes(verb: Verb, copy: Path) -> None:
    (run,) = copy.glob("four/*/s0")
    asked = verb("delete", "tiny/four")
    assert asked.code == 2
    assert "expected --yes" in asked.err
    assert f"goes: results/tiny/four/{run.parent.name}/s0" in asked.out
    assert (run / "result.json").is_file()
    with own(run):
        busy = verb("delete", "tiny/four", "--yes")
    assert busy.code == 2
    assert (run / "result.json").is_file()
    assert verb("delete", str(run), "--yes").code == 0
    assert not run.parent.exists() or not list(run.parent.iterdir())
    (line,) = [line for line in verb("list", "runs").out.splitlines() if "four" in line]
    assert line.split() == [f"tiny/four/{run.parent.name}/s0", "deleted"]
    again = verb("delete", "tiny/four", "--yes")
    assert again.code == 2
    assert "is deleted already" in again.err
    assert "is deleted; expected a run" in verb("eval", "tiny/four").err


def test_a_directory_that_was_set_aside_goes_alone(verb: Verb, copy: Path) -> None:
    (run,) = copy.glob("four/*/s0")
    assert verb("run", "tiny", "four", "--force").code == 0
    assert verb("delete", f"tiny/four/{run.parent.name}/s0.forced", "--yes").code == 0
    assert [path.name for path in run.parent.iterdir()] == ["s0"]
    assert row(verb, "four")["seeds"] == [0]
