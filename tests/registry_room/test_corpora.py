"""The corpora read what they say and refuse what they cannot."""

from pathlib import Path
from typing import Any

import pytest

from lllm.errors import UserError
from lllm.registry import Build, Registry


def corpus(registry: Registry, node: Any) -> Any:
    return Build(registry, {}).part("corpus", node)


@pytest.mark.parametrize("document", ["file", "blank_line", "2KB", "16KB"])
def test_no_byte_is_lost_or_read_twice(registry: Registry, tmp_path: Path, document: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n\ntwo\n\n\n\nthree " * 3000)
    (tmp_path / "b.txt").write_bytes(b"four\n" * 2000)
    made = corpus(registry, {"use": "text", "path": str(tmp_path), "document": document})
    train = b"".join(d.raw for d in made.documents("train"))
    valid = b"".join(d.raw for d in made.documents("valid"))
    whole = (tmp_path / "a.txt").read_bytes() + (tmp_path / "b.txt").read_bytes()
    assert train + valid == whole
    assert len(train) == int(len(whole) * 0.9)


def test_a_changed_file_changes_the_digest(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 100)
    before = corpus(registry, {"use": "text", "path": str(file)}).digest()
    file.write_bytes(b"x" * 99 + b"y")
    assert corpus(registry, {"use": "text", "path": str(file)}).digest() != before


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"", "expected at least 64"), (b"\0" * 99, "is binary")]
)
def test_what_cannot_be_read_is_refused(
    registry: Registry, tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "a.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(corpus(registry, {"use": "text", "path": str(file)}).documents("train"))


def test_frozen_texts_have_their_published_sizes(registry: Registry) -> None:
    made = corpus(registry, {"use": "text", "path": "tinyshakespeare"})
    sizes = [sum(len(d.raw) for d in made.documents(split)) for split in ("train", "valid")]
    assert sizes == [1_003_854, 111_540]  # nanoGPT's split


def test_the_standard_library_splits_by_what_a_file_says(registry: Registry) -> None:
    made = corpus(registry, "python_stdlib")
    train, valid = ({d.raw for d in made.documents(split)} for split in ("train", "valid"))
    assert len(train) > len(valid) >= 20  # enough documents for a verdict
    assert not train & valid
    assert made.digest().startswith("python-3.")


def test_one_file_is_one_path_however_it_is_spelled(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 100)
    monkeypatch.chdir(tmp_path)
    spellings = ("a.txt", "./a.txt", str(tmp_path / "a.txt"))
    specs = [registry.config("corpus", {"use": "text", "path": path}, "corpus") for path in spellings]
    assert {spec.delta()["path"] for spec in specs} == {"a.txt"}


def test_bytes_that_are_no_text_are_refused(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"\xff\xfe\xfd" * 300)
    with pytest.raises(UserError, match="is binary"):
        list(corpus(registry, {"use": "text", "path": str(file)}).documents("train"))
