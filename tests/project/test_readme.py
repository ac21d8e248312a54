"""The README's commands are real: every one is executed, with training replaced by its plan."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
TINY = ["model.width=16", "data.context=32", "train.batch=4", "eval.bytes=2000", "budget={steps: 4}"]
ELSEWHERE = {"check", "doctor"}  # have tests of their own, and look at the whole machine or catalogue


def commands() -> list[list[str]]:
    """Every line of the README's shell blocks, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]


def lllm(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lllm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished tiny runs of the quickstart and their table."""
    folder = tmp_path_factory.mktemp("readme")
    words = ["quickstart", "flat", "local_ar", "corpus={use: text, path: tinyshakespeare, document: 16KB}", *TINY]
    words += ["--as", "frozen"]
    done = lllm(["run", *words], folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_readme_begins_with_the_two_commands() -> None:
    assert commands()[:2] == [["pip", "install", "-e", "."], ["lllm", "run", "quickstart"]]
    assert commands()[2:4] == [["pip", "install", "-e", ".[dev]"], ["pytest"]]


@pytest.mark.parametrize("command", [c for c in commands() if c[0] == "lllm" and c[1] not in ELSEWHERE], ids=shlex.join)
def test_a_command_of_the_readme_works(command: list[str], studio: Path) -> None:
    verb, *rest = command[1:]
    runs = iter(["quickstart/flat", "quickstart/local_ar"])
    rest = [next(runs) if word == "RUN" else word for word in rest]
    if verb == "run" and "--dry-run" not in rest:
        rest.append("--dry-run")
    made = studio / "registry" / "mixers" / "my_idea.py"
    if any("my_idea" in word for word in rest) and verb != "new" and not made.exists():
        assert lllm(["new", "mixer", "my_idea"], studio).returncode == 0
    if verb == "new":
        rest = [*rest[:-1], "another_idea"]
    if verb == "bench":
        rest = [*rest, "flat", "--rounds", "1", *TINY]
    if verb == "reproduce":
        rest = [*rest, "--results", "again"]
    done = lllm([verb, *rest], studio)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_readmes_experiment_can_be_planned(studio: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    (studio / "experiments").mkdir(exist_ok=True)
    (studio / "experiments" / "window.yaml").write_text(text)
    done = lllm(["run", "window", "--dry-run"], studio)
    assert done.returncode == 0, done.stderr
    assert "conv16" in done.stdout


def test_the_readmes_python_runs(studio: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    code += "\nassert run.loglikelihood(['abc'])[0].nats > 0 and len(lllm.runs()) >= 2\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=studio, check=False)
    assert done.returncode == 0, done.stderr
