"""`lllm report` as it is typed, on runs that were really trained and on those that this repository has committed."""

from __future__ import annotations

import json
import re
import shutil
import webbrowser
from pathlib import Path

import pytest

from lllm.cli.report import _questions
from lllm.config import load_experiment
from lllm.results.rule import rule_of
from tests.cli.conftest import Verb, project, trained_in

COMMITTED = Path(__file__).parents[2] / "results" / "quickstart" / "runs.jsonl"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny experiment was run."""
    folder = tmp_path_factory.mktemp("trained")
    trained_in(folder, "--seeds", "0,1")
    return folder


@pytest.fixture
def inside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def test_a_report_of_trained_runs(inside: Path, verb: Verb) -> None:
    done = verb("report", "tiny")
    path = Path("results/tiny/report.html")
    assert done.code == 0, done.err
    assert re.search(r"written: results/tiny/report.html \(\d\.\d\d MB\)", done.out)
    assert "left out: Noise: Not measured" in done.out
    page = path.read_text(encoding="utf-8")
    for said in ("Four steps of a tiny model", "lllm run tiny --seeds 0,1", "FLOPs/token", "Prompt 2", "four"):
        assert said in page
    assert verb("report", "experiments/tiny.yaml").code == 0
    assert path.read_text(encoding="utf-8") == page  # of the same files the same page


def test_facts_for_a_script(inside: Path, verb: Verb) -> None:
    done = verb("report", "tiny", "--json")
    facts = json.loads(done.out)
    assert facts["bytes"] == Path(facts["path"]).stat().st_size
    assert facts["runs"] == {"finished": 4}
    assert facts["rows"] == 2
    assert facts["figures"] == ["forest", "learning", "slots", "positions", "front"]
    assert any(sentence.startswith("Tuning: ") for sentence in facts["absent"])


def test_open(inside: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert verb("report", "tiny", "--open").code == 0
    assert opened == [(inside / "results" / "tiny" / "report.html").resolve().as_uri()]


def test_the_index_says_what_is_known_and_links_to_it(inside: Path, verb: Verb) -> None:
    assert verb("report", "tiny").code == 0
    other = inside / "results" / "gone" / "runs.jsonl"
    other.parent.mkdir(exist_ok=True)
    shutil.copy(COMMITTED, other)
    other.write_text(other.read_text().replace('"experiment":"quickstart"', '"experiment":"gone"'))
    try:
        done = verb("report", "--json")
    finally:
        shutil.rmtree(other.parent)
    facts = json.loads(done.out)
    assert facts["experiments"] == ["gone", "tiny"]
    assert facts["path"] == "results/report.html"
    page = Path(facts["path"]).read_text(encoding="utf-8")
    assert '<a href="tiny/report.html">report</a>' in page
    assert "Four steps of a tiny model" in page
    assert "its file is not in this project" in page.lower()
    assert "no page yet: lllm report gone" in page
    assert "script" not in page


def test_what_a_clone_has_is_enough(tmp_path: Path, verb: Verb) -> None:
    place = tmp_path / "results" / "quickstart"
    place.mkdir(parents=True)
    shutil.copy(COMMITTED, place / "runs.jsonl")
    done = verb("report", "quickstart", "--as", "frozen", "--results", tmp_path / "results", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["path"] == str(place / "report.frozen.html")
    assert {"learning", "slots", "positions", "front"} <= set(facts["figures"])
    page = (place / "report.frozen.html").read_text(encoding="utf-8")
    assert "Changed on the command line: corpus={use: text, path: tinyshakespeare, document: 2KB}" in page
    done = verb("report", "quickstart", "--results", tmp_path / "results")
    assert done.out.startswith("No row of the experiment has a finished run; runs are here under the name frozen")
    plain = (place / "report.html").read_text(encoding="utf-8")
    assert "runs are here under the name frozen" in plain


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tinny"], "unknown experiment 'tinny'; did you mean 'tiny'?"),
        (["tiny", "--results", "nowhere"], "no runs below nowhere; expected some: lllm run tiny"),
        (["tiny", "--as", "fast"], "--as fast: no run has that name"),
        (["--as", "fast"], "--as fast: given without an experiment"),
        (["--results", "nowhere"], "no runs below nowhere; expected some: lllm run EXPERIMENT"),
    ],
)
def test_bad_input_is_one_sentence(inside: Path, verb: Verb, words: list[str], said: str) -> None:
    done = verb("report", *words)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1
    assert said in done.err
    assert not (inside / "nowhere").exists()


def test_a_page_that_cannot_be_written_is_one_sentence(inside: Path, verb: Verb) -> None:
    path = inside / "results" / "tiny" / "report.blocked.html"
    path.mkdir()
    (path / "kept").touch()
    assert verb("run", "tiny", "--seeds", "0,1", "--as", "blocked").code == 0
    done = verb("report", "tiny", "--as", "blocked")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"error: {path.relative_to(inside)}")
    assert (path / "kept").exists()


def test_variants_that_cannot_be_composed_leave_their_section_out(
    inside: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lllm.cli import show
    from lllm.errors import UserError

    def refuse(*arguments: object, **options: object) -> None:
        raise UserError("model.head = 'lost': no such part")

    monkeypatch.setattr(show, "composed", refuse)
    assert verb("report", "tiny").code == 0
    page = Path("results/tiny/report.html").read_text(encoding="utf-8")
    assert "the variants cannot be composed here: model.head = &#x27;lost&#x27;: no such part" in page


def test_a_committed_search_has_a_page_without_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("results/tiny").mkdir(parents=True)
    shutil.copy(COMMITTED.parents[1] / "compositions" / "pareto.json", "results/tiny/pareto.json")
    done = verb("report", "tiny", "--json")
    assert done.code == 0, done.err
    assert "search-0" in json.loads(done.out)["figures"]


def test_the_index_is_decided_by_the_rule_of_the_table(inside: Path) -> None:
    rule = _questions({"tiny"})["tiny"].rule
    assert rule == rule_of(load_experiment("tiny"))
    assert (rule.comparisons, rule.family) == (1, ("four",))
