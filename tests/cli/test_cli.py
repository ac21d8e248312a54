"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

VERBS = ("run", "compare", "diff", "list", "show", "eval", "generate", "bench", "reproduce", "check", "doctor", "new")


def lllm(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from lllm.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom lllm.cli import main\n"
        f"for words in ([], *([verb] for verb in {VERBS}), ['data'], ['data', 'verify']):\n"
        "    try: main([*words, '--help'])\n"
        "    except SystemExit as end: assert not end.code, words\n"
        "print([name for name in ('torch', 'numpy', 'scipy', 'rich', 'ruamel.yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "  generate " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "atention"], "unknown part or experiment 'atention'; did you mean 'attention'?"),
        (["check", "nothing_like_it"], "unknown part"),
        (["list", "--plugin", "absent.py"], "no such file"),
        (["run", "quickstrat"], "did you mean 'quickstart'?"),
        (["generate", "anything"], "there is none below results"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = lllm(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_pipe_that_is_closed_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'from lllm.cli import main; main()' list parts --json | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout == "["
    assert "Traceback" not in done.stderr


def test_a_terminal_that_cannot_show_a_character(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from lllm.cli import main; main()", "show", "prenorm"]
    done = subprocess.run(command, capture_output=True, env={"PYTHONIOENCODING": "ascii"}, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
