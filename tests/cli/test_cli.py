"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def lllm(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from lllm.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from lllm.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert "list" in done.stdout


def test_list_and_show_parts(tmp_path: Path) -> None:
    listed = lllm("list", "parts", "--json", cwd=tmp_path)
    names = {(part["kind"], part["name"]) for part in json.loads(listed.stdout)}
    assert {("mixer", "attention"), ("head", "local_ar")} <= names
    shown = lllm("show", "attention", cwd=tmp_path)
    assert "kv_heads" in shown.stdout
    assert shown.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "atention"], "unknown part 'atention'; did you mean 'attention'?"),
        (["check", "nothing_like_it"], "unknown part"),
        (["list", "part"], "did you mean 'parts'?"),
        (["new", "mixr", "x"], "did you mean 'mixer'?"),
        (["new", "mixer", "My Idea"], "is not a name"),
        (["new", "mixer", "attention"], "exists already"),
        (["list", "--plugin", "absent.py"], "no such file"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = lllm(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_new_writes_a_part_that_is_found(tmp_path: Path) -> None:
    assert lllm("new", "mixer", "my_idea", cwd=tmp_path).returncode == 0
    shown = lllm("show", "my_idea", "--json", cwd=tmp_path)
    (part,) = json.loads(shown.stdout)
    assert (part["kind"], part["source"], part["refs"]) == ("mixer", "working directory", [])
