"""Prepared data that are damaged: one sentence that says what to do, and nothing is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Verb, project

Damage = Callable[[Path], object]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb) -> Path:
    """What was prepared for the tiny experiment."""
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLLM_DATA", raising=False)
    (one,) = json.loads(verb("data", "prepare", "tiny", "--json").out)
    return Path(one["path"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path, place: int) -> None:
    raw = bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)


def other_documents(file: Path) -> None:
    """Still JSON, and sound to look at."""
    info = json.loads(file.read_bytes())
    info["counts"]["train"]["documents"] += 1
    file.write_text(json.dumps(info, indent=1))


TOKENS, DIGESTS, INFO = "train-00000/tokens.npy", "valid-00000/digests.json", "dataset.json"
DAMAGES: dict[str, tuple[str, Damage]] = {
    "a truncated shard": (TOKENS, cut),
    "an empty shard": (TOKENS, lambda file: file.write_bytes(b"")),
    "a missing shard": (TOKENS, Path.unlink),
    "a flipped token": (TOKENS, lambda file: flip(file, -1)),
    "a flipped header": (TOKENS, lambda file: flip(file, 20)),
    "flipped offsets": ("valid-00000/offsets.npy", lambda file: flip(file, -3)),
    "truncated hashes": ("valid-00000/hashes.npy", cut),
    "truncated digests": (DIGESTS, cut),
    "missing digests": (DIGESTS, Path.unlink),
    "digests that are no mapping": (DIGESTS, lambda file: file.write_text("[1]")),
    "digests of too few arrays": (DIGESTS, lambda file: file.write_text("{}")),
    "no JSON": (INFO, cut),
    "an empty dataset.json": (INFO, lambda file: file.write_bytes(b"")),
    "no text": (INFO, lambda file: file.write_bytes(b"\xff\x00\xfe")),
    "another shape": (INFO, lambda file: file.write_text('{"shards": {"train": 1}}')),
    "another digest": (INFO, other_documents),
    "a changed digest": ("dataset.digest", lambda file: flip(file, 0)),
    "an empty digest": ("dataset.digest", lambda file: file.write_bytes(b"")),
    "a digest that is no text": ("dataset.digest", lambda file: file.write_bytes(b"\xff\xfe")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_with_its_remedy(verb: Verb, tmp_path: Path, data: Path, name: str) -> None:
    place, damage = DAMAGES[name]
    damage(data / place)
    before = contents(tmp_path)
    verified = verb("data", "verify")
    assert verified.code == 1  # it ran, and found something
    assert verified.err == ""
    sentence, summary = verified.out.splitlines()
    assert sentence.startswith(f"damaged: {data}: ")
    assert f"delete {data} and run 'lllm data prepare EXPERIMENT'" in sentence
    assert "1 problems" in summary
    (problem,) = json.loads(verb("data", "verify", "--json").out)["problems"]
    assert problem["path"] == str(data)
    for words in (["--dry-run"], [], ["--json"], ["--force", "--workers", "2"]):
        done = verb("run", "tiny", *words)
        assert (done.code, done.out) == (2, "")
        (sentence,) = done.err.splitlines()
        assert sentence.startswith("error: ")
        assert str(data) in sentence
        assert f"; delete {data} to have it prepared anew" in sentence
    assert contents(tmp_path) == before  # no results, and the data as they were
    shutil.rmtree(data)  # as the sentence says
    assert verb("run", "tiny", "--dry-run").code == 0
    assert verb("data", "verify").code == 0


def test_without_its_dataset_json_a_folder_is_set_aside_and_made_anew(verb: Verb, tmp_path: Path, data: Path) -> None:
    """As if it had never been finished: nothing says what it is."""
    whole = contents(data)
    (data / INFO).unlink()
    assert f"damaged: {data}: dataset.json is missing or damaged" in verb("data", "verify").out
    done = verb("run", "tiny", "--dry-run")
    assert done.code == 0, done.err
    assert contents(data) == whole
    aside = contents(data.with_name(f".{data.name}.remnant"))
    assert sorted(aside.values()) == sorted(raw for file, raw in whole.items() if not file.endswith(INFO))
    assert verb("data", "verify").code == 0


def test_damage_after_a_run_leaves_the_run(verb: Verb, tmp_path: Path, data: Path) -> None:
    assert verb("run", "tiny", "four").code == 0
    flip(data / TOKENS, -1)
    before = contents(tmp_path)
    for verb_and_words in (["run", "tiny"], ["eval", "tiny/four"], ["run", "tiny", "four", "--force"]):
        done = verb(*verb_and_words)
        assert done.code == 2
        assert f"tokens.npy is missing or corrupted; delete {data} to have it prepared anew" in done.err
    assert verb("generate", "tiny/four", "--bytes", "8").code == 0  # it needs none
    assert contents(tmp_path) == before
