"""`lllm reproduce`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lllm.results.committed import load_records, write_committed
from tests.cli.conftest import Verb


@pytest.fixture
def committed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone: committed lines and the corpus, no run directories."""
    (tmp_path / "results/tiny").mkdir(parents=True)
    file = write_committed(tmp_path / "results", "tiny", load_records(home / "results", "tiny"))
    shutil.copy(home / "corpus.txt", tmp_path)
    monkeypatch.chdir(tmp_path)
    return file


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        change(line)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_row_trained_again_is_exactly_the_recorded_one(verb: Verb, committed: Path) -> None:
    before = committed.read_bytes()
    done = verb("reproduce", "results/tiny/runs.jsonl:four")
    assert done.code == 0
    assert "reproduced: bpb is exactly the recorded one" in done.out
    assert "not as it was" not in done.out
    assert committed.read_bytes() == before
    made = Path("results/.reproduced/tiny").iterdir()
    assert [path.name for path in made if not path.name.startswith(".")] == ["four"]
    again = json.loads(verb("reproduce", f"{committed}:tiny/four", "--json").out)
    assert again["exact"]
    assert again["differing"] == []
    assert "trained before" not in done.out
    cached = verb("reproduce", f"{committed}:tiny/four").out
    assert "trained before in results/.reproduced/tiny/four" in cached
    assert "--force trains it again" in cached
    assert "trained before" not in verb("reproduce", f"{committed}:tiny/four", "--force").out
    assert all(field["difference"] == 0 for field in again["fields"] if field["now"] is not None)


def test_what_is_not_as_it_was_is_said(verb: Verb, committed: Path) -> None:
    def change(line: dict[str, Any]) -> None:
        line["result"]["bpb"] += 0.01
        line["fingerprints"] |= {"data": "0" * 32, "code": "1" * 32}
        line["parts"][next(name for name in line["parts"] if name.startswith("head/"))]["digest"] = "2"

    edit(committed, change)
    done = verb("reproduce", committed)
    assert done.code == 1
    assert "not as it was: code of head/" in done.out
    assert "not as it was: data, now corpus.txt" in done.out
    assert "NOT reproduced: bpb differs by" in done.out
    assert "-0.01" in done.out
    loose = verb("reproduce", committed, "--tolerance", "0.1")
    assert loose.code == 0
    assert "reproduced within" in loose.out


def test_a_run_of_measured_time_is_repeated_by_its_steps(verb: Verb, committed: Path) -> None:
    edit(committed, lambda line: line["config"].update(budget={"seconds": 5.0}))
    found = json.loads(verb("reproduce", f"{committed}:four", "--json").out)
    assert found["exact"]
    assert any(line.startswith("arm, ") for line in found["differing"])  # its identity is that of five seconds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent/runs.jsonl"], "'absent/runs.jsonl': no such file; expected results/EXPERIMENT/runs.jsonl"),
        (["corpus.txt"], "expected results/EXPERIMENT/runs.jsonl"),
        (["results/tiny/runs.jsonl:fuor"], "no run 'fuor' in results/tiny/runs.jsonl; did you mean 'four'?"),
        (["results/tiny/runs.jsonl:tiny"], "'tiny': 2 runs are meant"),
        (["results/tiny/runs.jsonl", "--tolerance", "-1"], "--tolerance -1.0: expected a share"),
        (["results/tiny/runs.jsonl", "--results", "corpus.txt/x"], "cannot be written"),
    ],
)
def test_bad_input(verb: Verb, committed: Path, arguments: list[str], message: str) -> None:
    before = sorted(Path().rglob("*"))
    done = verb("reproduce", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.update(config=None), "no settings or steps recorded"),
        (lambda line: line.update(steps=None), "no settings or steps recorded"),
        (lambda line: line["config"]["model"].update(head={"use": "gone"}), "unknown head 'gone'"),
        (lambda line: line["config"]["corpus"].update(path="moved.txt"), "no such file or folder"),
        (lambda line: line["result"].pop("bpb"), "no bpb"),
    ],
)
def test_rows_that_cannot_be_trained_again(verb: Verb, committed: Path, change: Any, message: str) -> None:
    edit(committed, change)
    done = verb("reproduce", committed)
    assert done.code == 2
    assert message in done.err
