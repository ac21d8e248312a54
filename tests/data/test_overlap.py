"""What of validation training has: exactly, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lllm.data import Document, prepare
from lllm.data.overlap import WINDOW, Overlap
from lllm.registry import Build, PartConfig, Registry
from tests.data.toys import Book, Listed, Pairs

RANDOM = np.random.default_rng(0)


def text(size: int) -> bytes:
    return RANDOM.integers(32, 127, size, dtype=np.uint8).tobytes()


def inside(valid: list[bytes], *train: bytes) -> list[bool]:
    overlap = Overlap(map(Document, valid))
    for raw in train:
        overlap.search(raw)
    return [overlap.inside(raw) for raw in valid]


def plain(valid: bytes, *train: bytes) -> bool:
    """The definition: windows one after another, the last one ending with the document, each looked for by itself."""
    if len(valid) < WINDOW:
        return valid in train
    covered = set[int]()
    for place in {*range(0, len(valid) - WINDOW + 1, WINDOW), len(valid) - WINDOW}:
        if any(valid[place : place + WINDOW] in raw for raw in train):
            covered |= set(range(place, place + WINDOW))
    return 2 * len(covered) > len(valid)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 130, 5000, 100_000])
@pytest.mark.parametrize("before", [b"", b"x", b"y" * 40_000])
def test_a_copy_is_found_wherever_it_stands(size: int, before: bytes) -> None:
    valid, other = text(size), text(size)
    copied = valid if size < WINDOW else before + valid + b"\n"  # a short document equals only a whole one
    assert inside([valid, other], text(9000), copied) == [True, other == valid]


def test_it_is_the_definition_for_parts_of_documents() -> None:
    seen = set[bool]()
    for size in (100, 128, 200, 1000):
        for share in np.linspace(0.2, 0.9, 12):
            for start in (0, 37, 64):
                valid = text(size)
                train = text(500) + valid[start : start + int(share * size)] + text(500)
                assert inside([valid], train) == [plain(valid, train)]
                seen.add(plain(valid, train))
    assert seen == {True, False}


def test_runs_of_one_byte_are_windows_like_others() -> None:
    assert inside([b"a" * 200, b"a" * 63], b"b" + b"a" * 64) == [True, False]
    assert inside([b"a" * 200], b"a" * 63 + b"b" + b"a" * 63) == [False]


def prepared(tmp_path: Path, train: list[bytes], valid: list[bytes]) -> list[int]:
    corpus, tokenizer = Listed(list(map(Document, train)), list(map(Document, valid))), Pairs(PartConfig(), ALONE)
    overlap: list[int] = prepare(corpus, tokenizer, {}, multiple=8, root=tmp_path).info["overlap"]
    return overlap


ALONE = Build(Registry(), {})


def test_what_is_in_the_vocabulary_is_in_training(tmp_path: Path) -> None:
    train, valid = [text(200) for _ in range(3)], [text(400) for _ in range(4)]
    tokenizer = Book(PartConfig(), ALONE)
    tokenizer.text = valid[1] + valid[3]
    corpus = Listed(list(map(Document, train)), list(map(Document, valid)))
    assert prepare(corpus, tokenizer, {}, multiple=8, root=tmp_path).info["overlap"] == [1, 3]


def test_planted_corpora(tmp_path: Path) -> None:
    train, valid = [text(200) for _ in range(3100)], [text(400) for _ in range(15)]
    assert prepared(tmp_path, train, valid) == []
    assert prepared(tmp_path, train[:3000] + valid, valid) == [*range(15)]  # where nobody looks who looks at a few
    assert prepared(tmp_path, train + [raw + b"\n" for raw in valid], valid) == [*range(15)]  # no hash is equal
    assert prepared(tmp_path, [*train, valid[7]], valid) == [7]


@pytest.mark.parametrize("how", ["copy", "link"])
def test_backup_copies_and_symlinked_twins(registry: Registry, tmp_path: Path, how: str) -> None:
    """15 of 15: the copies come before what is held out."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(15):
        (folder / f"note{i:02d}.txt").write_bytes(text(300))
        twin = folder / f"a{i:02d}.txt.bak"
        if how == "copy":
            twin.write_bytes((folder / f"note{i:02d}.txt").read_bytes())
        else:
            twin.symlink_to(folder / f"note{i:02d}.txt")
    node = {"use": "text", "path": str(folder), "split": 0.5}
    corpus, tokenizer = Build(registry, {}).part("corpus", node), Build(registry, {}).part("tokenizer", "byte")
    data = prepare(corpus, tokenizer, {}, multiple=8, root=tmp_path / "data")
    assert data.info["overlap"] == [*range(15)]


def test_the_standard_library_validates_on_nothing_that_it_trains_on(registry: Registry) -> None:
    corpus = Build(registry, {}).part("corpus", "python_stdlib")
    valid = [document.raw for document in corpus.documents("valid")]
    assert not any(inside(valid, *(document.raw for document in corpus.documents("train"))))
    assert any(inside(valid, *(document.raw for document in corpus.documents("train")), valid[0] + b"\n"))
