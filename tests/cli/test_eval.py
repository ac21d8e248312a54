"""`lllm eval`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Verb, project
from tests.train import toys_measures

pytestmark = pytest.mark.usefixtures("inside")


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"}


def test_it_agrees_with_the_result_and_leaves_the_run_alone(verb: Verb, home: Path) -> None:
    before = files(home / "results/tiny")
    done = verb("eval", "four")
    assert done.code == 0
    assert "agrees with result.json exactly" in done.out
    assert "by slot of the chunk" in done.out
    found = json.loads(verb("eval", "tiny/four", "--json").out)
    (result,) = home.glob("results/tiny/four/*/s0/result.json")
    recorded = json.loads(result.read_text())
    assert found["recorded"] == {"bpb": recorded["bpb"], "difference": 0.0, "agrees": True, "same_data": True}
    for field in ("bpb", "bpb_text", "nats_per_byte", "slots", "positions", "documents", "evaluated_bytes", "kind"):
        assert found[field] == recorded[field]
    assert files(home / "results/tiny") == before


def test_another_corpus_and_more_bytes(verb: Verb) -> None:
    other = json.loads(verb("eval", "four", "corpus.path=other.txt", "--json").out)
    assert other["recorded"] is None
    assert other["data"].startswith("other.txt")
    every = json.loads(verb("eval", "four", "corpus.path=other.txt", "eval.bytes=null", "--json").out)
    assert every["evaluated_bytes"] > other["evaluated_bytes"]
    shorter = verb("eval", "four", "data.context=16")
    assert shorter.code == 0
    assert "result.json" not in shorter.out


def test_a_difference_is_said(verb: Verb, home: Path, tmp_path: Path) -> None:
    (source,) = home.glob("results/tiny/four/*/s0")
    run = Path(shutil.copytree(source, tmp_path / "s0"))
    result = json.loads((run / "result.json").read_text())
    bpb = result["bpb"]
    (run / "result.json").write_text(json.dumps({**result, "bpb": bpb * (1 + 1e-9)}))
    assert "agrees with result.json within rounding" in verb("eval", run).out
    (run / "result.json").write_text(json.dumps({**result, "bpb": bpb + 0.5}))
    assert f"differs from result.json, which says {bpb + 0.5:.6f}: -0.500000 bpb" in verb("eval", run).out
    (run / "result.json").unlink()
    assert "result.json" not in verb("eval", run).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["threee"], "run 'threee': there is none below results"),
        (["tiny"], "2 runs are meant"),
        (["four", "train.lr=1"], "eval: train.lr=1: expected what an evaluation may change: corpus, eval"),
        (["four", "model.width=1"], "expected what an evaluation may change"),
        (["four", "corpus.pth=a"], "unknown key 'pth' of corpus 'text'; did you mean 'path'?"),
        (["four", "corpus.path=absent.txt"], "no such file or folder"),
        (["four", "other.txt"], "expected KEY=VALUE"),
        (["four", "eval.bytes=-1"], "eval.bytes = -1"),
        (["four", "evaluation=2"], "expected what an evaluation may change"),
    ],
)
def test_bad_input(verb: Verb, arguments: list[str], message: str) -> None:
    done = verb("eval", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert done.err.count("\n") == 1


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb) -> Path:
    """A run without a likelihood, whose head has a metric."""
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    plugin = Path(str(toys_measures.__file__))
    assert verb("run", "tiny", "four", "model.head=toy_samples", "--as", "sampled", "--plugin", plugin).code == 0
    (result,) = tmp_path.glob("results/tiny/four/*/s0/result.json")
    return result


def test_a_run_without_a_likelihood_is_held_to_its_metrics(verb: Verb, measured: Path) -> None:
    result = json.loads(measured.read_text())
    distance = result["metrics"]["distance"]
    done = verb("eval", "four")
    assert done.code == 0
    shown = [line.split() for line in done.out.splitlines()]
    assert ["bpb", "(none,", "distance)", "-"] in shown
    assert ["distance", f"{distance:.6f}"] in shown
    assert "agrees with result.json exactly" in done.out
    found = json.loads(verb("eval", "four", "--json").out)
    expected = {"bpb": None, "difference": None, "metrics": dict.fromkeys(result["metrics"], 0.0)}
    assert found["recorded"] == {**expected, "agrees": True, "same_data": True}
    measured.write_text(json.dumps({**result, "metrics": {"distance": distance + 1}}))
    assert "differs from result.json: distance -1.00e+00" in verb("eval", "four").out
    measured.write_text(json.dumps({**result, "metrics": {}}))
    assert "nothing in result.json to compare with" in verb("eval", "four").out


def test_a_run_without_a_likelihood_in_tables(verb: Verb, measured: Path) -> None:
    metrics = json.loads(measured.read_text())["metrics"]
    brier, distance = f"{metrics['brier']:.4f}", f"{metrics['distance']:.4f}"
    (line,) = [
        line.split()
        for line in verb("compare", "tiny", "--as", "sampled", "--commit").out.splitlines()
        if "none" in line
    ]
    assert line[:6] == ["four", "1", "-", "none", brier, distance]
    (row,) = [line for line in verb("list", "runs").out.splitlines() if "tiny/four" in line]
    assert "finished" in row
    plugin = Path(str(toys_measures.__file__))
    done = verb("reproduce", "results/tiny/runs.jsonl:four", "--plugin", plugin)
    assert done.code == 0
    assert "reproduced: metrics.brier, metrics.distance is exactly the recorded one" in done.out
