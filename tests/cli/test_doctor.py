"""`lllm doctor`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Verb


def test_it_says_what_there_is(verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = verb("doctor", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["packages"]["torch"].startswith("2.")
    assert found["places"]["results"] == str(tmp_path / "results")
    assert found["problems"] == []
    assert "problems: none" in verb("doctor").out
    assert not list(tmp_path.iterdir())


def test_it_names_what_is_amiss(verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "registry/mixers").mkdir(parents=True)
    (tmp_path / "registry/mixers/broken.py").write_text("import nothing_of_the_kind")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/bad.yaml").write_text("hypothesis: [")
    (tmp_path / "results").touch()
    monkeypatch.chdir(tmp_path)
    problems = "\n".join(json.loads(verb("doctor", "--json").out)["problems"])
    assert "broken.py: gives no part: ModuleNotFoundError" in problems
    assert "bad.yaml" in problems
    assert "results: cannot be written" in problems


def test_the_kernel_of_a_part_is_shown(verb: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernel.py").write_text(
        "from lllm.registry import register\n"
        "from lllm.train.contracts import Schedule\n\n\n"
        '@register("schedule", "quick")\n'
        "class Quick(Schedule):\n"
        '    """Constant."""\n\n'
        '    kernel = "hand-written"\n\n'
        "    def factor(self, progress):\n"
        "        return 1.0\n"
    )
    found = json.loads(verb("doctor", "--plugin", "kernel.py", "--json").out)
    assert found["kernels"]["schedule/quick"] == "hand-written"


def test_a_damaged_probe_is_named_and_made_anew(
    verb: Verb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    (run,) = Path().glob("results/tiny/four/*/s0")
    before = json.loads(verb("doctor", "--json").out)["problems"]
    (run / "probe.json").write_text('{"begin": {"passed": tr')
    (said,) = set(json.loads(verb("doctor", "--json").out)["problems"]) - set(before)
    assert f"{run}: probe.json is damaged" in said
    assert verb("probe", "tiny/four", "--rounds", "1").code == 0
    assert list(json.loads((run / "probe.json").read_text())) == ["more"]
    assert json.loads(verb("doctor", "--json").out)["problems"] == before
