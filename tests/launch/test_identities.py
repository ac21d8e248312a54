"""Equal values are one arm, and nothing goes on under other code or data."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lllm import identity
from lllm.cli.plan import plan_facts, print_plan
from lllm.errors import UserError
from lllm.results.diff import diff
from lllm.results.files import write_json
from lllm.results.run import Run
from tests.launch.helpers import TINY, Place, todo
from tests.launch.test_plan import more, part_here


def arms(place: Place, match: str, variants: str) -> dict[str, Any]:
    place.write(f"{TINY}variants:\n{variants}match: {match}\n")
    made, names = place.arms()
    return {name: made.arm(name) for name in names}


# --- equal values -----------------------------------------------------------------------------------------------------


def test_a_text_is_what_it_says_and_not_where_it_lies(place: Place) -> None:
    (place.path / "elsewhere").mkdir()
    shutil.copy(place.path / "corpus.txt", place.path / "elsewhere" / "copy.txt")
    (place.path / "link").symlink_to(place.path / "elsewhere")
    (place.path / "other.txt").write_text((place.path / "corpus.txt").read_text() + "\n\none more")
    copies = ("elsewhere/copy.txt", "link/copy.txt")
    named = ("corpus.txt", str(place.path / "corpus.txt"), *copies, "./elsewhere/../corpus.txt")
    found = [place.plan(f"corpus.path={name}").runs[0].arm for name in named]
    assert len({arm.identity for arm in found}) == 1
    assert len({arm.fingerprints["data"] for arm in found}) == 1
    assert found[2].resolved.semantic()["corpus"]["path"] == found[3].resolved.semantic()["corpus"]["path"]
    others = [place.plan(*words).runs[0].arm for words in (("corpus.path=other.txt",), ("corpus.split=0.8",))]
    assert len({arm.identity for arm in (found[0], *others)}) == 3


def test_a_linked_working_directory_is_the_one_it_leads_to(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    link = place.path.with_name(f"{place.path.name}-link")
    link.symlink_to(place.path)
    usual = place.plan().runs[0].arm
    monkeypatch.chdir(link)
    there = place.plan(f"corpus.path={link / 'corpus.txt'}").runs[0].arm
    assert there.identity == usual.identity
    assert there.resolved.semantic() == usual.resolved.semantic()


def test_zero_has_one_sign() -> None:
    assert identity.canonical({"a": [-0.0, {"b": -0.0}]}) == identity.canonical({"a": [0.0, {"b": 0.0}]})
    assert identity.canonical(-1e-300) != identity.canonical(0.0)


@pytest.mark.parametrize("by", ["params", "flops"])
def test_a_matched_value_that_is_the_default_is_the_default(place: Place, by: str) -> None:
    variants = "  a: {}\n  b: {}\n  c: {model.ffn.hidden: 8}\n  d: {model.trunk.depth: 2}\n"
    found = arms(place, f"{{{by}: 10%}}", variants)
    assert found["b"].identity == found["a"].identity
    assert found["c"].identity == found["a"].identity  # made smaller, and then as large as before
    assert found["c"].matched.startswith("model.ffn.hidden = ")
    assert found["d"].identity != found["a"].identity
    plan = place.plan()
    notes = {run.arm.variant: run.why for run in plan.runs}
    assert notes == {"a": "", "b": "b is the same model as a", "c": "c is the same model as a", "d": ""}


def test_a_copy_of_the_baseline_is_not_timed(place: Place) -> None:
    found = arms(place, "{time: 5%}", "  a: {}\n  b: {}\n")  # which without a measurement would raise
    assert found["b"].identity == found["a"].identity


# --- code, data and platform ------------------------------------------------------------------------------------------


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """As `stop_on_signal`, with a signal after some steps."""
    asked = itertools.count()
    yield lambda: next(asked) > 3


def interrupted(place: Place) -> Path:
    """A run that stopped on its way, with a checkpoint."""
    plan = place.plan()
    path = plan.runs[0].path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lllm.launch.execute.stop_on_signal", stopping)
        with pytest.raises(KeyboardInterrupt):
            place.train(plan)
    assert Run(path).state == "interrupted"
    assert todo(place.plan()) == {"base/s0": ("continue", "")}
    return path


def test_no_weights_go_on_under_other_code(place: Place) -> None:
    path = interrupted(place)
    edited = part_here(place, "ffns/swiglu.py", more)
    plan = place.plan()
    assert todo(plan) == {"base/s0": ("train anew", f"stale: {edited} changed")}
    place.train(plan)
    assert (path.with_name("s0.stale") / "checkpoint").is_dir()
    assert Run(path).info["fingerprints"]["code"] == plan.runs[0].arm.fingerprints["code"]


def test_no_weights_go_on_where_run_json_was_made_to_fit(place: Place) -> None:
    """The checkpoint knows by itself under what code its weights were made."""
    path = interrupted(place)
    part_here(place, "ffns/swiglu.py", more)
    plan = place.plan()
    now = plan.info(plan.runs[0], 6)
    write_json(path / "run.json", {**Run(path).info, "fingerprints": now["fingerprints"], "parts": now["parts"]})
    again = place.plan()
    assert todo(again) == {"base/s0": ("train anew", "stale: its checkpoint is of other code or data")}
    fine, _ = place.train(again)
    assert fine
    assert path.with_name("s0.stale").is_dir()
    assert json.loads((path / "result.json").read_text())["steps"] == 6


def test_no_run_goes_on_under_another_platform_and_none_is_stale_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(place)
    monkeypatch.setattr("lllm.train.recheck.platform", lambda: "edited")
    monkeypatch.setattr("lllm.launch.arm.platform", lambda: "edited")
    plan = place.plan()
    assert todo(plan) == {"base/s0": ("train anew", "stale: lllm's own code changed")}
    place.train(plan)
    monkeypatch.undo()
    monkeypatch.chdir(place.path)
    assert todo(place.plan()) == {"base/s0": ("finished", "lllm's own code changed")}


def test_a_meaning_that_is_raised_makes_runs_stale(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.train(place.plan())
    monkeypatch.setattr(identity, "MEANING", identity.MEANING + 1)
    ((todo_, why),) = todo(place.plan()).values()
    assert (todo_, why) == ("train anew", f"stale: {identity.__file__.rpartition('/')[0]} changed")


def test_the_platform_is_of_the_code_that_makes_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual = identity.platform()
    copy = tmp_path / "lllm"
    for folder in ("data", "kernels", "model", "train", "cli"):
        shutil.copytree(Path(identity.__file__).parent / folder, copy / folder)
    monkeypatch.setattr(identity, "_LLLM", copy)

    def edited(name: str, text: str) -> str:
        path = copy / name
        path.write_text(path.read_text() + text)
        identity.platform.cache_clear()
        return identity.platform()

    try:
        assert edited("train/trainer.py", "# a comment\n") == usual
        assert edited("cli/app.py", "X = 1\n") == usual
        assert edited("train/trainer.py", "X = 1\n") != usual
    finally:
        identity.platform.cache_clear()


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_how_the_process_computed_is_recorded_and_shown(place: Place) -> None:
    place.train(place.plan())
    place.train(place.plan(seeds=(1,)))
    one, two = (Run(place.plan(seeds=(seed,)).runs[0].path) for seed in (0, 1))
    for run in (one, two):
        assert (
            run.info["environment"].items()
            >= {
                "default_dtype": "float32",
                "deterministic": False,
                "threads": 1,
                "interop_threads": torch.get_num_interop_threads(),
                "torch": torch.__version__,
            }.items()
        )
        assert run.info["fingerprints"]["platform"] == identity.platform()
        assert run.result is not None
        assert run.result["digests"].keys() == {"documents.npz", "metrics.jsonl", "probe.json"}
    assert "environment" not in diff(one, two).sections
    other = {**two.info["environment"], "default_dtype": "float64"}
    write_json(two.path / "run.json", {**two.info, "environment": other})
    assert diff(one, Run(two.path)).sections["environment"] == [
        {"path": "default_dtype", "a": "float32", "b": "float64"}
    ]


def test_another_default_dtype_is_refused(place: Place) -> None:
    plan = place.plan()
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(UserError, match=r"the default dtype is torch.float64; expected torch.float32"):
            place.plan()
        with pytest.raises(UserError, match=r"the default dtype is torch.float64; expected torch.float32"):
            place.train(plan)
    finally:
        torch.set_default_dtype(torch.float32)
    assert not Run(plan.runs[0].path).finished


def test_a_part_that_stands_in_for_a_shipped_one_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    plan = place.plan()
    assert plan_facts(plan)["replaced"] == []
    path = part_here(place, "ffns/swiglu.py", lambda text: text)
    part_here(place, "ffns/relu2.py", lambda text: text)  # which these runs do not use
    plan = place.plan()
    (said,) = plan_facts(plan)["replaced"]
    assert said.startswith(f"ffn/swiglu: {path}, in place of the shipped ")
    print_plan(plan, plan_facts(plan)["plan"])
    assert said in capsys.readouterr().out
