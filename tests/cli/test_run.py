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

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with its two runs, to be changed."""
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy" / "results" / "tiny"


def rows(page: Path) -> list[str]:
    return [line.split("|")[1].strip() for line in page.read_text().splitlines() if line.startswith("|")][2:]


def git(*words: str) -> str:
    names = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    return subprocess.run(["git", *names, *words], capture_output=True, text=True, check=True).stdout


def test_what_a_repository_keeps_is_written_when_asked_and_else_never(verb: Verb, copy: Path) -> None:
    shutil.copy(ROOT / ".gitignore", ".")
    git("init", "-q")
    assert verb("compare", "tiny", "--commit").code == 0
    git("add", "--all")
    git("commit", "-qm", "all")
    assert git("ls-files", "results").split() == ["results/tiny/runs.jsonl", "results/tiny/table.md"]
    shutil.rmtree(copy / "four")  # a clone: finished elsewhere, and only its line is here
    for words in ([], ["--seeds", "0,5"], ["train.lr=1e-3"], ["--as", "mine"], ["--force"]):
        done = verb("run", "tiny", *words)
        assert done.code == 0, done.err
        assert verb("compare", "tiny").code == 0
        assert git("status", "--porcelain") == ""
    written = "written: results/tiny/table.md and results/tiny/runs.jsonl\n"
    assert verb("compare", "tiny", "--commit").out.endswith(written)
    assert git("status", "--porcelain").split() == ["M", "results/tiny/runs.jsonl", "M", "results/tiny/table.md"]


def test_what_the_command_line_changed_is_shown(verb: Verb, copy: Path) -> None:
    done = verb("run", "tiny", "train.lr=1e-3", "--seeds", "0")
    assert done.code == 0
    assert "changed: train.lr=1e-3" in done.out
    assert "--as NAME keeps these rows" in done.out


def test_a_name_keeps_what_was_changed_on_a_page_of_its_own(verb: Verb, copy: Path) -> None:
    assert verb("compare", "tiny", "--commit").code == 0
    page = (copy / "table.md").read_bytes()
    corpus = "corpus={use: text, path: other.txt, document: 16KB}"
    assert verb("run", "tiny", corpus, "workers=1").code == 0  # finished before it gets its name
    done = verb("run", "tiny", corpus, "--seeds", "0,1", "--as", "frozen")
    assert done.code == 0, done.err
    assert verb("compare", "tiny", "--as", "frozen", "--commit").code == 0
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
    again = verb("compare", "tiny", "--as", "frozen", "--commit")
    assert again.code == 0
    assert "tiny as frozen" in again.out
    assert (copy / "table.frozen.md").read_text() == made
    assert "did you mean 'frozen'" in verb("compare", "tiny", "--as", "frozne").err
    assert verb("run", "tiny", "--as", "a/b").code == 2


def test_some_variants_keep_all_rows_of_the_page(verb: Verb, copy: Path) -> None:
    assert verb("run", "tiny", "four", "run.threads=1").code == 0
    assert verb("compare", "tiny", "--commit").code == 0
    assert rows(copy / "table.md") == ["flat", "four"]


@pytest.mark.parametrize(("name", "content"), [("run", "{nonsense"), ("result", "{nonsense"), ("result", "")])
def test_a_damaged_run_is_trained_anew(verb: Verb, copy: Path, name: str, content: str) -> None:
    (file,) = (copy / "four").glob(f"*/s0/{name}.json")
    before = json.loads(file.read_text())
    file.write_text(content)
    assert verb("list", "runs").out.count(f"{name}.json is damaged") == 1
    assert f"{file.parent.relative_to(copy.parents[1])}: {name}.json is damaged" in verb("doctor").out
    done = verb("run", "tiny", "four")
    assert done.code == 0, done.err
    assert f"{name}.json is damaged" in done.out
    told = "variant" if name == "run" else "bpb"
    assert json.loads(file.read_text())[told] == before[told]
    assert (file.parent.with_name("s0.damaged") / f"{name}.json").read_text() == content
    assert "is damaged" not in verb("doctor").out


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


def test_json_is_all_there_is_on_stdout(verb: Verb, copy: Path) -> None:
    planned = verb("run", "tiny", "--seeds", "0,4", "--dry-run", "--json")
    plan = json.loads(planned.out)
    assert (planned.code, plan["experiment"], plan["baseline"], plan["name"]) == (0, "tiny", "flat", None)
    assert [(run["run"], run["state"], run["todo"]) for run in plan["plan"]] == [
        ("flat/s0", "cached", "finished"),
        ("four/s0", "cached", "finished"),
        ("flat/s4", "to run", "train"),
        ("four/s4", "to run", "train"),
    ]
    assert not {"runs", "comparison"} & plan.keys()
    assert ["lllm.train.worker" in line for line in plan["commands"]] == [True, True]
    assert not list(copy.glob("*/*/s4"))
    done = verb("run", "tiny", "--seeds", "0,4", "--json")
    found = json.loads(done.out)
    assert done.code == 0
    for run, line in zip(found["runs"], found["plan"], strict=True):
        assert [run[key] for key in ("run", "arm", "seed", "path")] == [line[k] for k in ("run", "arm", "seed", "path")]
        recorded = json.loads(Path(run["path"], "result.json").read_text())
        assert (run["state"], run["reason"], run["result"]) == ("finished", "", recorded)
        assert recorded["parameters"] == line["parameters"]
        assert recorded["steps"] == line["steps"] == 4
    (compared,) = json.loads(verb("compare", "tiny", "--json").out)
    assert [row["variant"] for row in found["comparison"]["rows"]] == ["flat", "four"]
    assert [row["seeds"] for row in found["comparison"]["rows"]] == [[0, 4], [0, 4]]
    assert found["comparison"].keys() == compared.keys()
    assert "four/s4: finished" in done.err  # progress, for whoever looks


def test_json_of_runs_that_are_stale_named_or_failed(verb: Verb, copy: Path) -> None:
    (file,) = (copy / "four").glob("*/s0/run.json")
    info = json.loads(file.read_text())
    info["fingerprints"]["code"] = info["parts"]["ffn/swiglu"]["digest"] = "0" * 32
    file.write_text(json.dumps(info))
    plan = json.loads(verb("run", "tiny", "--dry-run", "--json").out)
    assert [run["state"] for run in plan["plan"]] == ["cached", "stale"]
    assert plan["plan"][1]["why"].startswith("stale: ")
    named = json.loads(verb("run", "tiny", "flat", "train.batch=8", "--as", "wide", "--json").out)
    assert (named["name"], named["comparison"]["label"]) == ("wide", "wide")
    wild = ["train.lr=1e30", "train.clip=null", "train.optimizer=adamw", "budget={steps: 30}"]
    done = verb("run", "tiny", "flat", *wild, "--json")
    failed = json.loads(done.out)
    assert done.code == 1
    assert [run["state"] for run in failed["runs"]] == ["diverged"]
    assert failed["runs"][0]["reason"]
    assert failed["runs"][0]["result"] is None


def test_a_name_is_not_given_to_what_is_moved_aside(verb: Verb, copy: Path) -> None:
    (file,) = (copy / "four").glob("*/s0/run.json")
    info = json.loads(file.read_text())
    info["fingerprints"]["code"] = info["parts"]["ffn/swiglu"]["digest"] = "0" * 32
    file.write_text(json.dumps(info))
    before = file.read_bytes()
    assert verb("run", "tiny", "--seeds", "0", "--as", "later").code == 0
    old = file.parent.with_name("s0.stale")
    assert (old / "run.json").read_bytes() == before
    assert [json.loads(path.read_text())["name"] for path in copy.glob("*/*/s0/run.json")] == ["later", "later"]
    assert verb("compare", "tiny", "--as", "later", "--commit").code == 0
    assert rows(copy / "table.later.md") == ["flat", "four"]
    (line,) = [line for line in verb("list", "runs").out.splitlines() if "s0.stale" in line]
    assert "set aside: " in line
    assert "swiglu" in line


def test_rows_that_joined_a_name_under_different_changes_say_so(verb: Verb, copy: Path) -> None:
    for words in (["flat", "train.lr=1e-3"], ["four"]):
        done = verb("run", "tiny", *words, "--seeds", "0", "--as", "mixed")
        assert done.code == 0
    assert "changed: train.lr=1e-3\n" not in done.out
    assert verb("compare", "tiny", "--as", "mixed", "--commit").code == 0
    assert rows(copy / "table.mixed.md") == ["flat (changed: train.lr=1e-3)", "four (differs: train.lr=null)"]
    assert "not comparable: other train.lr" in (copy / "table.mixed.md").read_text()


def test_json_of_bad_input_is_nothing(verb: Verb, inside: Path) -> None:
    done = verb("run", "tiny", "fuor", "--json")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'four'?" in done.err
