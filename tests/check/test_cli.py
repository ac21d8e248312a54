"""`lllm check` as a user meets it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lllm.check.suite import Outcome
from lllm.cli.check import _said
from tests.cli.test_cli import lllm

BROKEN = '''
"""A broken plugin."""
from lllm.registry import PartConfig, register
from lllm.train.contracts import Schedule

@register("schedule", "{name}")
class Mine(Schedule):
    """Rises for ever."""
    class Config(PartConfig):
        """Nothing."""
    def factor(self, progress):
        return {factor}
'''


def plugin(folder: Path, name: str, factor: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(BROKEN.format(name=name, factor=factor))
    return str(path)


def test_a_sound_plugin_passes(tmp_path: Path) -> None:
    done = lllm("check", "mine", "--plugin", plugin(tmp_path, "mine", "1 - progress"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"passed +schedule/mine\n1 of 1 passed", done.stdout)


def test_a_broken_plugin_fails_with_what_is_wrong(tmp_path: Path) -> None:
    done = lllm("check", "schedule/mine", "--plugin", plugin(tmp_path, "mine", "3 * progress"))
    assert done.returncode == 1
    assert "FAILED  schedule/mine  range" in done.stdout
    assert "factor(0.334) = 1.002; expected a number in [0, 1]" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_name_or_all(tmp_path: Path) -> None:
    done = lllm("check", "cosine", "--all")
    assert done.returncode == 2
    assert "expected one of them" in done.stderr
    assert "did you mean 'schedule/cosine'?" in lllm("check", "schedule/cosin").stderr


def test_what_was_not_tested_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _said(Outcome("head/mine", [], 1.5, ["T-COND (not projective)"]))
    _said(Outcome("head/yours", [], 0.5))
    assert capsys.readouterr().out == (
        "   1.5 s  passed  head/mine\n                  not tested: T-COND (not projective)\n"
        "   0.5 s  passed  head/yours\n"
    )
