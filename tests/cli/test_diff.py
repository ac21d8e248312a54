"""`lllm diff` as a user meets it: real runs, an edited part, an edited file."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from lllm.cli.diff import print_difference
from tests.cli.conftest import EXPERIMENT, Verb

SCHEDULE = """\
from lllm.registry import PartConfig, register
from lllm.train.contracts import Schedule


@register("schedule", "steady")
class Steady(Schedule):
    class Config(PartConfig):
        pass

    def factor(self, progress):
        return 0.5
"""
EDIT = "\n-        return 0.5\n+        return 0.25\n"


@pytest.fixture
def copy(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder as the working directory."""
    folder = tmp_path / "copy"
    shutil.copytree(home, folder)
    monkeypatch.chdir(folder)
    return folder


def said(text: str) -> str:
    return " ".join(text.split())


def test_two_runs(verb: Verb, inside: Path) -> None:
    done = verb("diff", "flat/s0", "four/s0", "--docs", "--curves")
    assert done.code == 0, done.err
    assert "model.ratio 1 4" in said(done.out)
    assert "\x1b" not in done.out
    assert verb("diff", "flat", "flat").out.count("nothing differs") == 1
    found = json.loads(verb("diff", "flat", "four", "--json").out)
    assert {"path": "model.ratio", "a": 1, "b": 4} in found["sections"]["config"]
    assert found["code"] == []


def test_the_planted_edit_of_a_part_is_shown_as_its_line(verb: Verb, copy: Path) -> None:
    """Between two runs; and between a run and what is there now, before anything is trained."""
    plugin = copy / "steady.py"
    plugin.write_text(SCHEDULE)
    words = ("run", "tiny", "four", "train.schedule=steady", "budget={steps: 2}", "--plugin", "steady.py")
    assert verb(*words).code == 0
    arm = next(path.parent.name for path in copy.glob("results/tiny/four/*/s0") if "steady" in _config(path))
    plugin.write_text(SCHEDULE.replace("0.5", "0.25"))
    now = verb("diff", f"{arm}/s0")
    assert now.code == 0, now.err
    assert "train.schedule.use steady cosine" in said(now.out)
    assert EDIT not in now.out  # as the file is, it would not be used
    file = copy / "experiments" / "tiny.yaml"
    file.write_text(EXPERIMENT.replace("train: {batch: 4}", "train: {batch: 4, schedule: steady}"))
    now = verb("diff", f"{arm}/s0")
    assert EDIT in now.out
    assert "budget.steps 2 4" in said(now.out)
    assert verb(*words).code == 0
    done = verb("diff", f"results/tiny/four/{arm}/s0.stale", f"tiny/four/{arm}/s0")
    assert done.code == 0, done.err
    assert EDIT in done.out
    shutil.rmtree(copy / "results" / "tiny" / ".sources")
    old = verb("diff", f"results/tiny/four/{arm}/s0.stale", f"tiny/four/{arm}/s0")
    assert "schedule/steady: the source of a was not kept" in old.out


def _config(path: Path) -> str:
    return (path / "run.json").read_text()


def test_a_run_and_its_variant_now(verb: Verb, copy: Path) -> None:
    done = verb("diff", "four/s0")
    assert done.code == 0, done.err
    assert "nothing differs: config, code, data and environment agree" in done.out
    file = copy / "experiments" / "tiny.yaml"
    file.write_text(EXPERIMENT.replace("width: 16", "width: 24"))
    done = verb("diff", "four/s0")
    assert "model.width 16 24" in said(done.out)
    assert "sizes.parameters" in done.out
    assert "execution" not in done.out
    file.rename(copy / "moved.yaml")
    done = verb("diff", "four/s0")
    assert done.code == 2
    assert "unknown experiment 'tiny'" in done.err
    assert "model.width 16 24" in said(verb("diff", "four/s0", "moved.yaml").out)
    assert "model.width 16 24" in said(verb("diff", "moved.yaml", "four/s0").out)
    (copy / "moved.yaml").write_text(EXPERIMENT.replace("four:", "fore:"))
    done = verb("diff", "four/s0", "moved.yaml")
    assert (done.code, done.out) == (2, "")
    assert "unknown variant 'four'; did you mean 'fore'?" in done.err


def test_two_experiments(verb: Verb, copy: Path) -> None:
    other = EXPERIMENT.replace("budget: {steps: 4}", "budget: {steps: 6}").replace("four:", "five:")
    (copy / "experiments" / "longer.yaml").write_text(other + "seeds: [0, 1]\n")
    done = verb("diff", "tiny", "longer")
    assert done.code == 0, done.err
    for line in ("budget.steps 4 6", "seeds [0] [0, 1]", "variants of a alone: four", "variants of b alone: five"):
        assert line in said(done.out)
    assert "no run - other arm" in said(done.out)
    found = json.loads(verb("diff", "tiny", "experiments/longer.yaml", "--json").out)
    assert (found["only_a"], found["only_b"]) == (["four"], ["five"])
    (result,) = found["results"]
    assert (result["variant"], result["a"]["n"], result["b"]["n"], result["other"]) == ("flat", 1, 0, ["arm"])
    (copy / "experiments" / "longer.yaml").write_text(EXPERIMENT)
    assert "nothing differs: the two files define the same" in verb("diff", "tiny", "longer").out


def test_a_run_of_an_experiments_name_is_the_run(verb: Verb, copy: Path) -> None:
    shutil.copy(copy / "experiments" / "tiny.yaml", copy / "experiments" / "mine.yaml")
    shutil.copy(copy / "experiments" / "tiny.yaml", copy / "experiments" / "four.yaml")
    assert verb("run", "tiny", "four", "--as", "mine").code == 0
    assert "model.ratio 1 4" in said(verb("diff", "flat/s0", "mine").out)
    assert verb("diff", "experiments/mine.yaml", "tiny").out.count("nothing differs: the two files") == 1
    assert (
        verb("diff", "four", "tiny").out.count("nothing differs: the two files") == 1
    )  # but not of a part of its name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tini", "tiny"), "run 'tini': there is none below results; did you mean 'tiny'?"),
        (("flat", "fuor"), "run 'fuor': there is none below results; did you mean 'four'?"),
        (("tiny",), "diff tiny: an experiment alone; expected a second one, or a run"),
        (("tiny", "tiny", "--docs"), "--docs: compares two runs"),
        (("flat", "--curves"), "--curves: compares two runs"),
        (("tiny", "nowhere.yaml"), "experiment 'nowhere.yaml': no such file"),
        (("tiny/s0", "flat"), "2 runs are meant"),
    ],
)
def test_bad_input_is_one_sentence(verb: Verb, inside: Path, words: tuple[str, ...], message: str) -> None:
    done = verb("diff", *words)
    assert done.code == 2
    assert done.out == ""
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_terminal_has_colours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from lllm.results.diff import Difference, Drifted

    lines = ("--- a/head/x", "+++ b/head/x", "@@ -1 +1 @@", "-[bold]one[/bold]", "+two")
    found = Difference("a", "b", {"parts": []}, (Drifted(("head/x",), "1", "2", lines),))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_difference(found)
    shown = capsys.readouterr().out
    assert "-[bold]one[/bold]" in shown  # source is no markup
    (line,) = [line for line in shown.splitlines() if "two" in line]
    assert line.startswith("\x1b[")
