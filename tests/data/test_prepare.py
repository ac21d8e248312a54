"""Documents survive the way to disk, and damage is noticed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lllm.data import Dataset, Document, prepare
from lllm.data.contracts import Corpus, Split, Tokenizer
from lllm.data.tokens import flaw, ids_of, rows_of
from lllm.errors import UserError
from lllm.registry import Build, PartConfig, Registry


class Toy(Corpus):
    """Documents from a list."""

    def __init__(self, train: list[Document], valid: list[Document]) -> None:
        super().__init__(PartConfig(), Build(Registry(), {}))
        self.splits = {"train": train, "valid": valid}

    def documents(self, split: Split):  # noqa: ANN201 - an iterator of documents
        return iter(self.splits[split])

    def digest(self) -> str:
        return repr(self.splits)

    def describe(self) -> str:
        return "toy"


@pytest.fixture(scope="module")
def byte(registry: Registry) -> Tokenizer:
    tokenizer: Tokenizer = Build(registry, {}).part("tokenizer", "byte")
    return tokenizer


def make(tmp_path: Path, byte: Tokenizer, *texts: bytes) -> Dataset:
    return prepare(Toy([Document(t) for t in texts], [Document(b"v" * 20)]), byte, {}, multiple=8, root=tmp_path)


def test_documents_end_with_eos_and_are_padded(tmp_path: Path, byte: Tokenizer) -> None:
    shard = make(tmp_path, byte, b"abcdefg", b"abcdefgh", b"").train[0]
    assert np.diff(shard.offsets).tolist() == [8, 16, 8]
    assert shard.tokens[:8].tolist() == [*b"abcdefg", byte.eos]
    assert shard.tokens[16:].tolist() == [byte.eos, *[byte.pad] * 7][-8:] or shard.tokens[17] == byte.pad
    assert shard.sizes.tolist() == [7, 8, 0]
    assert len({bytes(h) for h in shard.hashes}) == 3


def test_prepared_once_and_reused(tmp_path: Path, byte: Tokenizer) -> None:
    first = make(tmp_path, byte, b"hello world")
    stamp = (first.path / "dataset.json").stat().st_mtime_ns
    again = make(tmp_path, byte, b"hello world")
    assert again.fingerprint == first.fingerprint
    assert (again.path / "dataset.json").stat().st_mtime_ns == stamp
    assert make(tmp_path, byte, b"hello worle").fingerprint != first.fingerprint


def test_corruption_is_refused(tmp_path: Path, byte: Tokenizer) -> None:
    data = make(tmp_path, byte, b"hello world")
    file = data.path / "train-00000" / "tokens.npy"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(UserError, match=r"tokens\.npy is missing or corrupted"):
        make(tmp_path, byte, b"hello world")


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", '{"shards": []}', '{"shards": {"train": 3, "valid": ["x"]}}'])
def test_a_wrong_dataset_json_is_named_with_the_remedy(tmp_path: Path, byte: Tokenizer, text: str) -> None:
    data = make(tmp_path, byte, b"hello world")
    for digest in (True, False):  # data of before there was one are read as they are
        if not digest:
            (data.path / "dataset.digest").unlink()
        (data.path / "dataset.json").write_text(text)
        with pytest.raises(UserError, match=rf"^{data.path}/dataset\.json: .*; delete {data.path} to have it"):
            make(tmp_path, byte, b"hello world")


def test_an_edited_dataset_json_is_not_what_was_written(tmp_path: Path, byte: Tokenizer) -> None:
    data = make(tmp_path, byte, b"hello world")
    file = data.path / "dataset.json"
    file.write_text(file.read_text().replace("toy", "joy"))
    with pytest.raises(UserError, match=r"dataset\.json: not what was written"):
        Dataset.open(data.path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tokens": 3}', '{"tokens": "a"}'])
def test_a_wrong_digests_json_is_named_with_the_remedy(tmp_path: Path, byte: Tokenizer, text: str) -> None:
    data = make(tmp_path, byte, b"hello world")
    (data.path / "train-00000" / "digests.json").write_text(text)
    with pytest.raises(UserError, match=r"train-00000: digests\.json is .*; delete .* to have it prepared anew$"):
        make(tmp_path, byte, b"hello world")


def test_a_remnant_is_moved_aside(tmp_path: Path, byte: Tokenizer) -> None:
    data = make(tmp_path, byte, b"hello world")
    for number in ("", "2"):
        (data.path / "dataset.json").unlink()
        assert make(tmp_path, byte, b"hello world").train[0].sizes.tolist() == [11]
        assert (tmp_path / f".{data.path.name}.remnant{number}" / "train-00000" / "tokens.npy").is_file()


def test_an_empty_split_is_refused_and_leaves_nothing(tmp_path: Path, byte: Tokenizer) -> None:
    with pytest.raises(UserError, match="no documents for valid"):
        prepare(Toy([Document(b"x")], []), byte, {}, multiple=8, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_columns_and_unscored_spans_follow_their_tokens(byte: Tokenizer) -> None:
    weights = np.arange(5, dtype=np.float32)
    document = Document(b"abcde", [(1, 3)], {"weight": weights})
    ids, columns = rows_of(document, ids_of(document, byte), byte, 8)
    assert ids.tolist() == [*b"abcde", byte.eos, byte.pad, byte.pad]
    assert columns["weight"].tolist() == [0, 1, 2, 3, 4, 1, 0, 0]
    assert columns["scored"].tolist() == [1, 0, 0, 1, 1, 1, 0, 0]


@given(raw=st.binary(max_size=80))
def test_any_bytes_round_trip(byte: Tokenizer, raw: bytes) -> None:
    assert flaw(byte, raw, byte.encode(raw)) == ""
