"""`lllm new`: what it writes works at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lllm.check import suite
from lllm.check.suite import Checker
from lllm.registry import Part, Registry, load_registry
from tests.cli.conftest import Verb, project


def contracts(cls: type[Part] = Part) -> set[str]:
    """Kinds for which the platform has a contract, whether or not there is a part of it."""
    own = {cls.kind} if "kind" in vars(cls) and cls.__module__.startswith("lllm.") else set()
    return own.union(*map(contracts, cls.__subclasses__()))


KINDS = sorted(contracts())  # the suite has imported every contract that it checks


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_mixer_is_shown_and_trained(verb: Verb, folder: Path) -> None:
    project(folder)
    assert verb("new", "mixer", "my_idea").code == 0
    source = (folder / "registry/mixers/my_idea.py").read_text()
    assert "class MyIdea(Mixer):" in source
    (part,) = json.loads(verb("show", "my_idea", "--json").out)
    assert (part["kind"], part["source"], part["refs"]) == ("mixer", "working directory", [])
    assert part["summary"].startswith("Begun as a copy of mixer ")
    assert verb("run", "tiny", "four", "model.mixer=my_idea").code == 0
    assert verb("eval", "four").code == 0


@pytest.mark.parametrize("kind", ["mixer", "ffn", "block", "trunk", "head", "downsampler", "embedding", "visibility"])
def test_a_new_part_of_any_kind_of_the_model_composes(verb: Verb, folder: Path, kind: str) -> None:
    project(folder)
    assert verb("new", kind, "mine").code == 0
    assert verb("show", "tiny", "four", f"model.{kind}=mine").code == 0


def test_there_is_a_contract_of_every_kind_and_more(registry: Registry) -> None:
    assert {"adapter", *registry.kinds()} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_part_of_every_kind_keeps_its_contract(
    verb: Verb, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Under one draw of the weights, and untrained: what was copied is checked under every draw, and trained, elsewhere.
    monkeypatch.setattr(suite, "SEEDS", suite.SEEDS[:1])
    monkeypatch.setattr(suite, "_TRAINED", ())
    assert verb("new", kind, "mine").code == 0
    loaded = load_registry(cwd=folder)
    assert loaded.failures == {}
    outcome = Checker(loaded).part(loaded.get(kind, "mine"))
    assert (outcome.where, outcome.failures) == (f"{kind}/mine", [])
    assert f'"check", "{kind}/mine"' in (folder / "tests/test_mine.py").read_text()


def test_new_parts_of_every_kind_lint(verb: Verb, folder: Path) -> None:
    for kind in KINDS:
        assert verb("new", kind, "mine" if kind != "mixer" else "other").code == 0
        (folder / "tests/test_mine.py").unlink(missing_ok=True)
    listed = verb("list", "parts")
    assert "failed" not in listed.out
    assert listed.out.count("working directory") == len(KINDS)
    configuration = Path(__file__).parents[2] / "pyproject.toml"
    # import order depends on which folder counts as ours, and here it is another one
    command = [sys.executable, "-m", "ruff", "check", "--config", str(configuration), "--ignore", "I001", "registry"]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def test_a_new_adapter_is_trained_with(verb: Verb, folder: Path) -> None:
    """No part to copy is shipped; it is begun as the smallest one."""
    project(folder)
    done = verb("new", "adapter", "mine")
    assert (done.code, "begun as the smallest adapter" in done.out) == (0, True)
    (part,) = json.loads(verb("show", "mine", "--json").out)
    assert part["summary"].startswith("Begun as the smallest adapter: ")
    assert verb("run", "tiny", "four", "train.adapter=mine").code == 0


def test_every_valid_kind_is_told(verb: Verb) -> None:
    done = verb("new", "nothing_like_it", "mine")
    assert done.code == 2
    assert done.err == f"error: new: unknown kind 'nothing_like_it'; valid: {', '.join(KINDS)}\n"


def test_its_test_is_a_test(verb: Verb, folder: Path) -> None:
    verb("new", "schedule", "mine")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "test_mine_keeps_its_contract" in done.stdout


def test_like_names_another_beginning(verb: Verb, folder: Path) -> None:
    assert verb("new", "schedule", "mine", "--like", "wsd").code == 0
    assert 'register("schedule", "mine")' in (folder / "registry/schedules/mine.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mixr", "x"], "did you mean 'mixer'?"),
        (["mixer", "My Idea"], "is not a name"),
        (["mixer", "attention"], "exists already"),
        (["mixer", "x", "--like", "atention"], "did you mean 'attention'?"),
        (["adapter", "x", "--like", "y"], "unknown adapter 'y'; there are none"),
        (["mixer", "x", "--plugin", "absent.py"], "no such file"),
        (["mixer", "../x"], "is not a name"),
    ],
)
def test_bad_input(verb: Verb, folder: Path, arguments: list[str], message: str) -> None:
    done = verb("new", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not list(folder.iterdir())


def test_a_file_that_is_there_is_kept(verb: Verb, folder: Path) -> None:
    (folder / "tests").mkdir()
    (folder / "tests/test_mine.py").write_text("mine")
    done = verb("new", "mixer", "mine")
    assert done.code == 2
    assert "tests/test_mine.py exists already" in done.err
    assert (folder / "tests/test_mine.py").read_text() == "mine"
    assert not (folder / "registry").exists()


def test_a_file_of_several_parts_is_no_beginning(verb: Verb, folder: Path, registry: Registry) -> None:
    source = registry.get("schedule", "wsd").path
    (folder / "registry/schedules").mkdir(parents=True)
    two = (folder / "registry/schedules/two.py").write_text
    text = source.read_text().replace('"wsd"', '"one"')
    decorated = text[text.index("@register") :]
    two(text + "\n\n" + decorated.replace('"one"', '"two"').replace("class ", "class Other", 1))
    done = verb("new", "schedule", "mine", "--like", "one")
    assert done.code == 2
    assert "holds several parts" in done.err
    shutil.rmtree(folder / "registry")
