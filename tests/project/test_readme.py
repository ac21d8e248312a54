"""The README's commands are real: every one is executed, and what it says to train is trained, for two steps."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[2] / "README.md"
FIRST = ["lllm", "run", "quickstart"]
BRIEFLY = ["train.batch=4", "eval.bytes=2000", "run.samples=1", "run.sample_bytes=16"]
TWO_STEPS = "budget={steps: 2}"
ONE = "local_ar"  # where a line would start processes for every variant, one of them is enough
TINY = ["model.width=16", "data.context=32", "train.batch=4", "eval.bytes=2000", "budget={steps: 4}"]
ELSEWHERE = {"check"}  # `lllm check` of every part is a test of its own, and so is that of a part that `lllm new` wrote


def commands() -> list[list[str]]:
    """Every line of the README's shell blocks, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]


def written(language: str) -> str:
    """The README's only block in a language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return str(text)


def trains(command: list[str]) -> bool:
    return command[:2] == ["lllm", "run"] and "--dry-run" not in command


TRAINED = [command for command in commands() if trains(command) and command != FIRST]  # `studio` trains the first
OTHERS = [c for c in commands() if c[0] == "lllm" and c[1] not in ELSEWHERE and not trains(c)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where data are prepared, once."""
    return tmp_path_factory.mktemp("data")


def lllm(arguments: list[str], cwd: Path, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lllm", *arguments]
    environment = {**os.environ, "LLLM_DATA": str(data)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False, timeout=300)


def trained(command: list[str], cwd: Path, data: Path) -> dict[str, Any]:
    """What the command's JSON says after everything it names was trained: with the budget of the line, or two steps."""
    words = [*command[1:], *BRIEFLY, *([] if "budget=" in shlex.join(command) else [TWO_STEPS]), "--json"]
    done = lllm(words, cwd, data)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert {run["state"] for run in found["plan"]} == {"to run"}
    assert {run["state"] for run in found["runs"]} == {"finished"}
    assert all(run["result"]["bpb"] > 0 for run in found["runs"])
    assert {row["variant"] for row in found["comparison"]["rows"]} == {run["variant"] for run in found["plan"]}
    return found


def new_part(folder: Path, data: Path) -> None:
    assert lllm(["new", "mixer", "my_idea"], folder, data).returncode == 0


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A folder in which the README's first run was made, under a name that keeps its table; and a new part."""
    folder = tmp_path_factory.mktemp("readme")
    done = lllm([*FIRST[1:], *BRIEFLY, TWO_STEPS, "--as", "brief"], folder, data)
    assert done.returncode == 0, done.stderr
    assert "quickstart as brief" in done.stdout
    assert "next:" in done.stdout
    assert lllm(["compare", "quickstart", "--as", "brief", "--commit"], folder, data).returncode == 0
    assert len((folder / "results" / "quickstart" / "runs.jsonl").read_text().splitlines()) == 4
    new_part(folder, data)
    return folder


def test_the_readme_begins_with_the_two_commands() -> None:
    assert commands()[:2] == [["pip", "install", "-e", "."], FIRST]
    assert commands()[2:4] == [["pip", "install", "-e", ".[dev]"], ["pytest"]]
    assert len(TRAINED) >= 5


@pytest.mark.parametrize("command", TRAINED, ids=shlex.join)
def test_what_the_readme_trains_is_trained(command: list[str], tmp_path: Path, data: Path) -> None:
    if any("my_idea" in word for word in command):
        new_part(tmp_path, data)
    fewer = ["3" if word == "8" else word for word in command]  # seeds, which two steps do not decide
    found = trained([*fewer, *([ONE] if "--nproc" in command else [])], tmp_path, data)
    steps = 60 if "60" in shlex.join(command) else 2
    assert {run["result"]["steps"] for run in found["runs"]} == {steps}
    seeds = {run["seed"] for run in found["runs"]}
    if "--seeds-until-decided" in command:
        assert seeds == set(range(len(found["looks"]) + 1)) >= {0, 1}
    else:
        assert seeds == ({0, 1, 2} if "--seeds" in command else {0})


def test_two_runs_at_once(tmp_path: Path, data: Path) -> None:
    assert "--workers 2" in README.read_text(encoding="utf-8")
    found = trained([*FIRST, "parallel", ONE, "--workers", "2"], tmp_path, data)
    assert [run["result"]["shared_timing"] for run in found["runs"]] == [True, True]


def test_the_readmes_experiment_is_trained(tmp_path: Path, data: Path) -> None:
    assert "`lllm run window`" in README.read_text(encoding="utf-8")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "window.yaml").write_text(written("yaml"))
    found = trained(["lllm", "run", "window", "--seeds", "2"], tmp_path, data)
    assert [run["run"] for run in found["runs"]] == ["concat/s2", "conv/s2", "conv16/s2"]


@pytest.mark.parametrize("command", OTHERS, ids=shlex.join)
def test_a_command_of_the_readme_works(command: list[str], studio: Path, data: Path) -> None:
    verb, *rest = command[1:]
    runs = iter(["quickstart/flat/s0", "quickstart/local_ar/s0"])
    rest = [next(runs) if word == "RUN" else word for word in rest]
    if verb == "new":
        rest = [*rest[:-1], "another_idea"]
    if verb == "delete":  # of a run that no other line needs
        rest = ["quickstart/parallel/s0", "--yes"]
    if verb == "bench":
        rest = [*rest, "flat", "--rounds", "1", *TINY]
    if verb in ("noise", "sweep"):
        rest = [word if word not in ("8", "60") else "2" for word in rest] + [*BRIEFLY, TWO_STEPS]
    if verb == "sweep":
        rest += ["--no-confirm"] if "--search" in rest else ["flat", "--confirm-seeds", "0"]
    if verb == "reproduce":
        rest = [*rest, "--results", "again"]
    done = lllm([verb, *rest], studio, data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout


def test_the_readmes_python_runs(studio: Path, data: Path) -> None:
    code = written("python") + "\nassert run.loglikelihood(['abc'])[0].nats > 0 and len(lllm.runs()) >= 4\n"
    environment = {**os.environ, "LLLM_DATA": str(data)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=studio, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
