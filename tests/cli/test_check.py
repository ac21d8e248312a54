"""`lllm check --json`: one document, whatever is printed meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Verb

PLUGIN = '''
"""A schedule that speaks."""
from lllm.registry import PartConfig, register
from lllm.train.contracts import Schedule

print("a plugin that prints")


@register("schedule", "spoken")
class Spoken(Schedule):
    """Rises for ever."""

    class Config(PartConfig):
        """Nothing."""

    def factor(self, progress):
        print("and again")
        return {factor} * (1 - progress)
'''


@pytest.mark.parametrize("factor", [1, 3])
def test_json_is_all_there_is_on_stdout(verb: Verb, tmp_path: Path, factor: int) -> None:
    (tmp_path / "spoken.py").write_text(PLUGIN.format(factor=factor))
    done = verb("check", "spoken", "--json", "--plugin", tmp_path / "spoken.py")
    found = json.loads(done.out)
    (outcome,) = found["outcomes"]
    assert (done.code, found["checked"], found["passed"]) == ((0, 1, 1) if factor == 1 else (1, 1, 0))
    assert (outcome["where"], outcome["passed"], outcome["notes"]) == ("schedule/spoken", factor == 1, [])
    assert 0 <= outcome["seconds"] <= found["seconds"]
    assert [failure["test"] for failure in outcome["failures"]] == ([] if factor == 1 else ["range"])
    assert all("expected a number in [0, 1]" in failure["why"] for failure in outcome["failures"])
    assert "schedule/spoken" in done.err


def test_json_of_bad_input_is_nothing(verb: Verb) -> None:
    done = verb("check", "schedule/cosin", "--json")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'schedule/cosine'?" in done.err
