"""`lllm data`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Verb, project


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLLM_DATA", raising=False)
    return tmp_path


def test_prepare_list_verify(verb: Verb, folder: Path) -> None:
    (one,) = json.loads(verb("data", "prepare", "tiny", "--json").out)
    assert Path(one["path"], "dataset.json").is_file()
    train, valid = one["counts"]["train"], one["counts"]["valid"]
    assert train["bytes"] + valid["bytes"] == (folder / "corpus.txt").stat().st_size
    verb("data", "prepare", "tiny", "four", "corpus.path=other.txt")
    found = json.loads(verb("data", "list", "--json").out)
    assert [dataset["made"].split(",")[0] for dataset in found if dataset["path"] == one["path"]] == ["corpus.txt"]
    assert len(found) == 2
    listed = verb("data", "list").out
    assert "documents" in listed
    assert str(train["tokens"]) in listed
    assert "2 datasets, 4 shards: no problems" in verb("data", "verify").out


def test_one_preparation_serves_variants_that_read_the_same(verb: Verb) -> None:
    assert len(json.loads(verb("data", "prepare", "tiny", "--json").out)) == 1
    assert len(json.loads(verb("data", "prepare", "tiny", "data.multiple=16", "--json").out)) == 1
    assert len(json.loads(verb("data", "list", "--json").out)) == 2


def test_a_damaged_file_is_named(verb: Verb) -> None:
    (one,) = json.loads(verb("data", "prepare", "tiny", "--json").out)
    (other,) = json.loads(verb("data", "prepare", "tiny", "corpus.path=other.txt", "--json").out)
    file = Path(one["path"], "train-00000", "tokens.npy")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    done = verb("data", "verify")
    assert done.code == 1
    assert f"{file.parent}: tokens.npy is missing or corrupted; delete {one['path']} and run" in done.out
    assert verb("data", "verify", Path(other["path"]).name[:6]).code == 0
    refused = verb("run", "tiny")
    assert refused.code == 2
    assert f"tokens.npy is missing or corrupted; delete {one['path']}" in refused.err
    Path(one["path"], "dataset.json").write_text("[]")
    assert "dataset.json is missing or damaged" in verb("data", "verify", one["path"]).out
    assert "dataset.json is missing or damaged" in verb("data", "list").out


def test_nothing_is_there(verb: Verb) -> None:
    assert json.loads(verb("data", "list", "--json").out) == []
    assert verb("data", "verify").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "tinny"], "unknown experiment 'tinny'; did you mean 'tiny'?"),
        (["prepare", "tiny", "fuor"], "no variant 'fuor'; did you mean 'four'?"),
        (["prepare", "tiny", "corpus.path=empty.txt"], "0 bytes; expected at least 64"),
        (["prepare", "tiny", "corpus.path=binary.txt"], "is binary"),
        (["prepare", "tiny", "data.multiple=0"], "data.multiple = 0"),
        (["verify", "0123"], "'0123': no such prepared data"),
        (["prepar"], "No such command"),
    ],
)
def test_bad_input(verb: Verb, folder: Path, arguments: list[str], message: str) -> None:
    (folder / "empty.txt").touch()
    (folder / "binary.txt").write_bytes(b"\0\1" * 100)
    done = verb("data", *arguments)
    assert done.code == 2
    assert message in done.err
    assert not (folder / ".lllm").exists()


def test_a_folder_that_cannot_be_written(verb: Verb, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("LLLM_DATA", str(folder / "file" / "data"))
    done = verb("data", "prepare", "tiny")
    assert done.code == 2
    assert "cannot be written" in done.err
