"""`lllm run`: what is written of which runs, and what happens to those that are damaged or no longer read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Verb


@pytest.fixture
def copy(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with its two runs, to be changed."""
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy" / "results" / "tiny"


def rows(page: Path) -> list[str]:
    return [line.split("|")[1].strip() for line in page.read_text().splitlines() if line.startswith("|")][2:]


def test_what_the_command_line_changed_is_shown_and_not_written(verb: Verb, copy: Path) -> None:
    page, lines = (copy / "table.md").read_bytes(), (copy / "runs.jsonl").read_bytes()
    done = verb("run", "tiny", "train.lr=1e-3", "--seeds", "0")
    assert done.code == 0
    assert "changed: train.lr=1e-3" in done.out
    assert "not written" in done.out
    assert (copy / "table.md").read_bytes() == page
    assert (copy / "runs.jsonl").read_bytes() == lines
    assert sorted(path.name for path in copy.iterdir()) == ["flat", "four", "runs.jsonl", "table.md"]


def test_a_name_keeps_what_was_changed_on_a_page_of_its_own(verb: Verb, copy: Path) -> None:
    page = (copy / "table.md").read_bytes()
    corpus = "corpus={use: text, path: other.txt, document: 16KB}"
    assert verb("run", "tiny", corpus, "workers=1").code == 0  # finished before it gets its name
    done = verb("run", "tiny", corpus, "--seeds", "0,1", "--as", "frozen")
    assert done.code == 0, done.err
    made = (copy / "table.frozen.md").read_text()
    assert made.startswith("# tiny as frozen\n")
    assert f"Made by `lllm run tiny '{corpus}' --seeds 0,1 --as frozen`" in made
    assert rows(copy / "table.frozen.md") == ["flat", "four"]
    named = [json.loads(line) for line in (copy / "runs.jsonl").read_text().splitlines()]
    assert sorted((line["variant"], line["seed"]) for line in named if line["name"] == "frozen") == [
        ("flat", 0),
        ("flat", 1),
        ("four", 0),
        ("four", 1),
    ]
    assert (copy / "table.md").read_bytes() == page
    for variant in ("flat", "four"):
        shutil.rmtree(copy / variant)
    again = verb("compare", "tiny", "--as", "frozen")
    assert again.code == 0
    assert "tiny as frozen" in again.out
    assert (copy / "table.frozen.md").read_text() == made
    assert "did you mean 'frozen'" in verb("compare", "tiny", "--as", "frozne").err
    assert verb("run", "tiny", "--as", "a/b").code == 2


def test_some_variants_keep_all_rows_of_the_page(verb: Verb, copy: Path) -> None:
    assert verb("run", "tiny", "four", "run.threads=1").code == 0
    assert rows(copy / "table.md") == ["flat", "four"]


def test_a_damaged_run_is_trained_anew(verb: Verb, copy: Path) -> None:
    (file,) = (copy / "four").glob("*/s0/run.json")
    file.write_text("{nonsense")
    assert verb("list", "runs").out.count("run.json is damaged") == 1
    done = verb("run", "tiny", "four")
    assert done.code == 0, done.err
    assert "its run.json is damaged; it is now s0.damaged, and trained anew" in done.err
    assert json.loads(file.read_text())["variant"] == "four"
    assert (file.parent.with_name("s0.damaged") / "result.json").is_file()


@pytest.mark.parametrize("seeds", ["-1", "0,0", str(2**63), "x"])
def test_seeds_are_bounded(verb: Verb, inside: Path, seeds: str) -> None:
    done = verb("run", "tiny", f"--seeds={seeds}")
    assert done.code == 2
    assert "--seeds" in done.err


def test_training_goes_on_when_the_reader_of_a_pipe_goes_away(copy: Path) -> None:
    verb = f"{sys.executable} -c 'from lllm.cli import main; main()' run tiny --seeds 5"
    command = f"{verb} | head -c 1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "t"
    assert len(list(copy.glob("*/*/s5/result.json"))) == 2
