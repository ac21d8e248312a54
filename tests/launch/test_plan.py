"""What a command will do with what is there already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lllm.launch.now import expected_rows
from lllm.registry.discovery import shipped
from lllm.results.compare import compare
from lllm.results.run import Run
from tests.launch.helpers import TINY, Place, outcome, todo


def part_here(place: Place, relative: str, edit: Callable[[str], str]) -> Path:
    """A copy of a shipped part in the working directory, edited."""
    path = place.path / "registry" / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(edit((shipped("registry") / relative).read_text()))
    return path


def more(text: str) -> str:
    return text + "\n_ONE_MORE = 1\n"


def reworded(text: str) -> str:
    return '"""Another docstring."""\n# A comment.\n' + text.split('"""', 2)[2]


def test_finished_runs_are_not_run_again_unless_forced(place: Place) -> None:
    fine, watch = place.train(place.plan())
    assert fine
    assert watch.begun == [("base/s0", 6)]
    assert watch.ends == [("base/s0", "finished", "")]
    again = place.plan()
    assert todo(again) == {"base/s0": ("finished", "")}
    assert place.train(again)[1].begun == []
    forced = place.plan(force=True)
    assert todo(forced) == {"base/s0": ("train anew", "--force")}
    before = outcome(forced.runs[0].path)
    assert place.train(forced)[0]
    assert outcome(forced.runs[0].path) == before
    assert (forced.runs[0].path.parent / "s0.forced" / "result.json").is_file()


def test_two_seeds_never_share_a_directory(place: Place) -> None:
    plan = place.plan(seeds=(0, 1, 2))
    assert len({run.path for run in plan.runs}) == 3
    place.train(plan)
    weights = [json.dumps(outcome(run.path)[1]) for run in plan.runs]
    assert len(set(weights)) == 3


def test_an_edited_part_makes_its_runs_stale_and_is_named(place: Place) -> None:
    place.train(place.plan())
    path = part_here(place, "ffns/swiglu.py", more)
    plan = place.plan()
    assert todo(plan) == {"base/s0": ("train anew", f"stale: {path} changed")}
    kept = place.plan(keep_stale=True)
    assert todo(kept) == {"base/s0": ("finished", f"kept although stale: {path} changed")}
    before = outcome(plan.runs[0].path)
    assert place.train(plan)[0]
    assert outcome(plan.runs[0].path.parent / "s0.stale") == before  # kept beside it
    assert outcome(plan.runs[0].path) == before  # the edit changed nothing that counts, and nobody could know
    assert todo(place.plan()) == {"base/s0": ("finished", "")}


def test_an_edited_comment_or_docstring_does_not(place: Place) -> None:
    place.train(place.plan())
    part_here(place, "ffns/swiglu.py", reworded)
    assert todo(place.plan()) == {"base/s0": ("finished", "")}


def test_no_run_continues_across_an_edit(place: Place) -> None:
    plan = place.plan()
    place.train(plan)
    (plan.runs[0].path / "result.json").unlink()
    (plan.runs[0].path / "status.json").write_text('{"state": "interrupted"}')
    assert todo(place.plan()) == {"base/s0": ("continue", "")}
    path = part_here(place, "ffns/swiglu.py", more)
    assert todo(place.plan(keep_stale=False)) == {"base/s0": ("train anew", f"stale: {path} changed")}


def test_a_changed_text_is_another_arm_and_says_so(place: Place) -> None:
    place.train(place.plan())
    before = expected_rows("tiny")[0].arm
    place.corpus("\n\n".join(f"another text, number {i}" for i in range(200)))
    assert todo(place.plan()) == {"base/s0": ("train", "")}
    rows = expected_rows("tiny")
    assert rows[0].arm != before
    table = compare(place.path / "results", "tiny", rows, all_runs=True)
    assert [(row.arm, row.note) for row in table.rows] == [(rows[0].arm, ""), (before, "differs: data")]


@pytest.mark.parametrize("word", ["train.lr=1000000.0", "train.lr=1e30"])
def test_a_failed_run_says_why_and_is_trained_anew_when_forced(place: Place, word: str) -> None:
    words = (word, "train.clip=null", "train.optimizer=adamw", "budget={steps: 30}")
    fine, watch = place.train(place.plan(*words))
    assert not fine
    ((_, state, reason),) = watch.ends
    assert state == "failed"
    assert "a uniform guess" in reason or "is nan" in reason or "is inf" in reason
    plan = place.plan(*words)
    path = plan.runs[0].path
    assert json.loads((path / "status.json").read_text()) == {"state": "diverged", "reason": reason}
    assert todo(plan) == {"base/s0": ("failed", f"{reason}; --force trains it anew")}
    fine, watch = place.train(plan)
    assert not fine  # nothing was run, and still what was asked for has failed
    assert watch.begun == []
    forced = place.plan(*words, force=True)
    assert todo(forced) == {"base/s0": ("train anew", "--force")}
    place.train(forced)
    assert (path.parent / "s0.forced" / "status.json").is_file()


# --- what run.json says ---------------------------------------------------------------------------------------------


def test_run_json_says_what_was_run(place: Place) -> None:
    plan = place.plan(label="mine", plugins=("/some/plugin.py",))
    place.train(plan)
    info = Run(plan.runs[0].path).info
    arm = plan.runs[0].arm
    assert info["arm"] == arm.identity
    assert (info["experiment"], info["variant"], info["seed"], info["name"]) == ("tiny", "base", 0, "mine")
    assert info["fingerprints"] == arm.fingerprints
    assert info["config"]["semantic"]["model"]["width"] == 16
    assert info["config"]["execution"]["plugins"] == ["/some/plugin.py"]
    assert info["sizes"]["parameters"] == arm.parameters
    assert info["parts"]["head/local_ar"]["path"].endswith("local_ar.py")
    assert {"python", "torch", "cores"} <= set(info["environment"])
    assert info["planned"] == [0]


def test_a_run_that_continues_executes_as_is_asked_now(place: Place) -> None:
    plan = place.plan()
    place.train(plan)
    path = plan.runs[0].path
    before = Run(path).info
    (path / "result.json").unlink()
    (path / "status.json").write_text('{"state": "interrupted"}')
    place.train(place.plan("run.log_every=3", label="other"))
    after = Run(path).info
    assert after["config"]["execution"]["log_every"] == 3
    assert {**after, "config": None} == {**before, "config": None}
    assert after["config"]["semantic"] == before["config"]["semantic"]


def test_seeds_are_the_outer_order(place: Place) -> None:
    place.write(TINY + "variants: {a: {}, b: {model.width: 8}}\n")
    assert [run.name for run in place.plan(seeds=(4, 2)).runs] == ["a/s4", "b/s4", "a/s2", "b/s2"]
