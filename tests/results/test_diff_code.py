"""What changed in the source of parts, line by line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from lllm.registry.source import syntax_digest
from lllm.results.diff import Side, diff, diff_now
from lllm.results.sources import keep_sources
from tests.results.conftest import CONFIG, FINGERPRINTS, MakeRun

OLD = "class First:\n    depth = 2\n    gain = 0.5\n\n\nclass Second:\n    depth = 1\n"
NEW = OLD.replace("gain = 0.5", "gain = 0.25")


@pytest.fixture
def edited(make_run: MakeRun, tmp_path: Path) -> Any:
    """Two runs, between which the file of two parts was edited; edited(keep): whether its source was kept then."""

    def make(keep: bool = True) -> Any:
        made = []
        for seed, text in enumerate((OLD, NEW)):
            path = tmp_path / "heads.py"
            path.write_text(text)
            mine = {"path": str(path), "digest": syntax_digest(text), "version": 1}
            parts = {"head/first": mine, "head/second": mine, "trunk/stack": {"digest": "bb", "version": 1}}
            made.append(make_run("flat", seed, parts=parts))
            if keep:
                keep_sources(made[-1].path, parts)
        return made

    return make


def test_the_edited_line_is_shown_once_for_all_parts_of_the_file(edited: Any) -> None:
    found = diff(*edited())
    (code,) = found.code
    assert code.parts == ("head/first", "head/second")
    assert (code.a, code.b) == (syntax_digest(OLD), syntax_digest(NEW))
    assert code.note == ""
    assert code.lines[:2] == ("--- a/head/first", "+++ b/head/first")
    changed = [line for line in code.lines[2:] if line[0] in "+-"]
    assert changed == ["-    gain = 0.5", "+    gain = 0.25"]
    assert json.loads(json.dumps(asdict(found)))["code"][0]["lines"] == list(code.lines)


def test_nothing_changed_is_nothing(make_run: MakeRun) -> None:
    assert diff(make_run("flat", 0), make_run("flat", 1)).code == ()


def test_parts_of_one_side_alone_are_no_edits(make_run: MakeRun) -> None:
    other = {"head/other": {"digest": "zz", "version": 1}}
    assert diff(make_run("flat", 0), make_run("flat", 1, parts=other)).code == ()


def test_a_source_that_was_not_kept_is_said_to_be_missing(edited: Any, tmp_path: Path) -> None:
    a, b = edited(keep=False)
    (code,) = diff(a, b).code  # b's file is still there
    assert (code.lines, code.note) == ((), "the source of a was not kept")
    (code,) = diff(b, a).code
    assert code.note == "the source of b was not kept"
    (tmp_path / "heads.py").unlink()
    (code,) = diff(a, b).code
    assert code.note == "the source of a and b was not kept"


def test_one_text_with_two_digests(make_run: MakeRun, tmp_path: Path) -> None:
    runs = []
    for seed, digest in enumerate(("a" * 32, "b" * 32)):
        run = make_run("flat", seed, parts={"head/first": {"path": "", "digest": digest, "version": 1}})
        folder = run.path.parents[2] / ".sources"
        folder.mkdir(exist_ok=True)
        (folder / f"{digest}.py").write_text(OLD)
        runs.append(run)
    (code,) = diff(runs[0], runs[1]).code
    assert code.lines == ()
    assert "the same text" in code.note


def test_a_run_against_what_is_defined_now(edited: Any) -> None:
    run, newer = edited()
    parts = {**newer.info["parts"], "trunk/stack": {"digest": "bb", "version": 2}}
    config = {"semantic": {**CONFIG, "train": {"lr": 0.002, "batch": 8}}, "execution": {"device": "elsewhere"}}
    fingerprints = {"arm": run.arm, **FINGERPRINTS}
    now = Side("flat now", {"arm": run.arm, "parts": parts, "config": config, "fingerprints": fingerprints})
    found = diff_now(run, now)
    assert (found.a, found.b, found.now) == (run.name, "flat now", True)
    assert found.sections == {
        "config": [{"path": "train.batch", "a": 16, "b": 8}],
        "parts": [
            {"path": "head/first.digest", "a": syntax_digest(OLD), "b": syntax_digest(NEW)},
            {"path": "head/second.digest", "a": syntax_digest(OLD), "b": syntax_digest(NEW)},
            {"path": "trunk/stack.version", "a": 1, "b": 2},
        ],
    }
    (code,) = found.code
    assert "+    gain = 0.25" in code.lines
