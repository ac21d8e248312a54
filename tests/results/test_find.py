"""RUN on the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lllm.errors import UserError
from lllm.results.committed import load_records, write_committed
from lllm.results.find import find_run
from lllm.results.run import retire
from tests.results.conftest import MakeRun, arm


def test_a_directory_or_any_unambiguous_part(make_run: MakeRun, root: Path) -> None:
    run = make_run("small", 0)
    make_run("small", 1)
    long = make_run("small_long", 0, name="winner")
    assert find_run(root, str(run.path)).path == run.path
    for text in ("study/small/" + arm("small")[:8] + "/s0", "small/s0", arm("small")[:8] + "/s0", str(run.path)):
        assert find_run(root, text).path == run.path
    for text in ("small_long", "_long", "winner", arm("small_long")[:6]):
        assert find_run(root, text).path == long.path


def test_ambiguity_lists_the_candidates_and_ignorance_the_nearest(make_run: MakeRun, root: Path) -> None:
    make_run("small", 0)
    make_run("small", 1)
    with pytest.raises(UserError, match=r"2 runs are meant.*s0.*s1"):
        find_run(root, "small")
    with pytest.raises(UserError, match="did you mean 'small'"):
        find_run(root, "smoll")
    for text in ("", "x" * 5000, "a\0b", "/"):
        with pytest.raises(UserError, match="there is none"):
            find_run(root, text)
    with pytest.raises(UserError, match="there are none"):
        find_run(root / "nowhere", "small")


def test_what_was_moved_aside_is_meant_only_in_full(make_run: MakeRun, root: Path) -> None:
    old = retire(make_run("small", 0).path, "stale")
    run = make_run("small", 0)
    for text in ("small", "small/s0", arm("small")[:6]):
        assert find_run(root, text).path == run.path
    assert find_run(root, "small/s0.stale").path == old


def test_of_several_arms_the_one_that_the_file_defines_is_meant(make_run: MakeRun, root: Path) -> None:
    changed = make_run("small", 0, identity=arm("changed"), argv=["run", "study", "small", "train.lr=1e-3"])
    plain = make_run("small", 0, argv=["run", "study", "small", "wandb=offline"])  # says only how it is executed
    for text in ("small", "study/small", "small/s0"):
        assert find_run(root, text).path == plain.path
    assert find_run(root, arm("changed")[:8]).path == changed.path
    make_run("small", 0, identity=arm("other"), argv=["run", "study", "--results=x", "small", "data.context=8"])
    assert find_run(root, "small").path == plain.path
    make_run("small", 1)
    with pytest.raises(UserError, match="2 runs are meant"):  # seeds are no less plain than one another
        find_run(root, "small")


def test_a_committed_line_gives_way_to_a_directory(make_run: MakeRun, root: Path) -> None:
    committed = make_run("small", 0, identity=arm("committed"))
    write_committed(root, "study", load_records(root, "study"))
    shutil.rmtree(committed.path)
    with pytest.raises(UserError, match=r"known from runs\.jsonl alone"):
        find_run(root, "small")
    here = make_run("small", 0, identity=arm("here"))
    assert find_run(root, "small").path == here.path


def test_trials_and_tuned_runs_stand_back(make_run: MakeRun, root: Path) -> None:
    plain = make_run("flat", 0)
    make_run("flat", 0, identity=arm("tuned"), tuned={"trials": 8, "fields": {"train.lr": 0.02}})
    make_run("flat", 0, identity=arm("tried"), trial={"study": "study/flat/tune", "number": 3})
    assert find_run(root, "study/flat/s0").path == plain.path
    assert find_run(root, f"flat/{arm('tried')[:8]}").arm == arm("tried")
