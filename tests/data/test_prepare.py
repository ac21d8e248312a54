"""Documents survive the way to disk, and damage is noticed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lllm.data import Dataset, Document, prepare
from lllm.data.contracts import Tokenizer
from lllm.data.prepare import shard_of
from lllm.data.tokens import flaw, ids_of, rows_of
from lllm.errors import UserError
from lllm.registry import Build, PartConfig, Registry
from tests.data.toys import TRIGRAMS, Folded, Inflated, Listed, Padded, Pairs


@pytest.fixture(scope="module")
def byte(registry: Registry) -> Tokenizer:
    tokenizer: Tokenizer = Build(registry, {}).part("tokenizer", "byte")
    return tokenizer


def make(tmp_path: Path, byte: Tokenizer, *texts: bytes) -> Dataset:
    return prepare(Listed([Document(t) for t in texts], [Document(b"v" * 20)]), byte, {}, multiple=8, root=tmp_path)


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
    for digest in (True, False):
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
        prepare(Listed([Document(b"x")], []), byte, {}, multiple=8, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_columns_and_unscored_spans_follow_their_tokens(byte: Tokenizer) -> None:
    weights = np.arange(5, dtype=np.float32)
    document = Document(b"abcde", [(1, 3)], {"weight": weights})
    ids, columns = rows_of(document, ids_of(document, byte), byte, 8)
    assert ids.tolist() == [*b"abcde", byte.eos, byte.pad, byte.pad]
    assert columns["weight"].tolist() == [0, 1, 2, 3, 4, 1, 0, 0]
    assert columns["scored"].tolist() == [1, 0, 0, 1, 1, 1, 0, 0]


def test_a_document_may_go_on_without_an_end(byte: Tokenizer) -> None:
    document = Document(b"abcdefgh", columns={"weight": np.ones(8, np.float32)}, ended=False)
    ids, columns = rows_of(document, ids_of(document, byte), byte, 8)
    assert ids.tolist() == [*b"abcdefgh"]
    assert columns["weight"].tolist() == [1] * 8
    assert shard_of([Document(b"", ended=False), document], byte, 8).offsets.tolist() == [0, 0, 8]


CHEATS = [
    (Folded, r"document 2 of valid \([0-9a-f]{8}\): decode\(encode\(raw\)\) differs at byte 4: b'ing"),
    (Inflated, r"document 2 of valid \([0-9a-f]{8}\): byte 9: id 255 decodes to b'the', and bytes_per_token says 30"),
    (Padded, r"document 2 of valid \([0-9a-f]{8}\): byte 9: id 258 decodes to b'', and bytes_per_token says 0 bytes"),
]


@pytest.mark.parametrize(("cheat", "message"), CHEATS)
def test_a_tokenizer_that_lies_is_refused(tmp_path: Path, cheat: type[Tokenizer], message: str) -> None:
    valid = [Document(raw) for raw in (b"a book", b"or a key", b"bookings the other day")]
    tokenizer = cheat(PartConfig(), Build(Registry(), {}))
    nodes = {"tokenizer": {"use": "planted"}}
    with pytest.raises(UserError, match=f"^tokenizer 'planted', {message}"):
        prepare(Listed([Document(b"a book")], valid), tokenizer, nodes, multiple=8, root=tmp_path)
    assert list(tmp_path.iterdir()) == []
    prepare(Listed([Document(b"a book")], valid[:2]), tokenizer, nodes, multiple=8, root=tmp_path)


def test_one_training_document_in_64_is_decoded(tmp_path: Path) -> None:
    """By its hash: of the texts that a cheat is wrong about, those are found and no others."""
    tokenizer, valid = Folded(PartConfig(), Build(Registry(), {})), [Document(b"a book")]
    texts = [b"%d %s" % (i, TRIGRAMS[1]) for i in range(300)]
    found = [raw for raw in texts if hashlib.blake2b(raw, digest_size=16).digest()[0] % 64 == 0]
    assert 1 <= len(found) <= 15
    rest = Listed([Document(raw) for raw in texts if raw not in found], valid)
    assert prepare(rest, tokenizer, {}, multiple=8, root=tmp_path).info["counts"]["train"]["documents"] > 200
    for raw in found:
        with pytest.raises(UserError, match="document 1 of train"):
            prepare(Listed([valid[0], Document(raw)], valid), tokenizer, {}, multiple=8, root=tmp_path)


def test_an_edited_part_does_not_find_its_old_shards(tmp_path: Path, byte: Tokenizer) -> None:
    def made(tokenizer: Tokenizer, source: str, name: str = "byte") -> Dataset:
        corpus = Listed([Document(b"\0a" * 9)], [Document(b"\0v" * 9)])
        return prepare(corpus, tokenizer, {"tokenizer": {"use": name}}, multiple=8, source=source, root=tmp_path)

    pairs = Pairs(PartConfig(), Build(Registry(), {}))
    before = made(byte, "one")
    after = made(pairs, "two")  # the same name and config, other code
    assert after.train[0].tokens.tolist() != before.train[0].tokens.tolist()
    assert after.fingerprint != before.fingerprint
    assert after.documents == before.documents  # so that their rows may be compared
    assert made(byte, "three").fingerprint == before.fingerprint  # an edit that changes nothing
    assert len({made(byte, source).path for source in ("one", "two", "three")}) == 3


def test_fingerprints_are_of_what_was_prepared_not_of_what_the_digest_says(tmp_path: Path, byte: Tokenizer) -> None:
    class Blind(Listed):
        def digest(self) -> str:
            return "ever the same"

    one, other = [Document(b"one")] * 2, [Document(b"two")] * 2
    made = [
        prepare(Blind(*splits), byte, {}, multiple=8, root=tmp_path / str(i))
        for i, splits in enumerate([(one, other), (other, one), (one, one), (one, other[:1]), (one, other)])
    ]
    for names in ([data.documents for data in made], [data.fingerprint for data in made]):
        assert names[0] == names[-1]
        assert len(set(names)) == 4


def test_the_description_is_of_whoever_asks(tmp_path: Path, byte: Tokenizer) -> None:
    class Other(Listed):
        def describe(self) -> str:
            return "final.txt"

    documents = [Document(b"hello world")], [Document(b"hello")]
    first, second = (prepare(cls(*documents), byte, {}, multiple=8, root=tmp_path) for cls in (Listed, Other))
    assert (first.info["made"], second.info["made"]) == ("toy", "final.txt")
    assert first.path == second.path


@given(raw=st.binary(max_size=80))
def test_any_bytes_round_trip(byte: Tokenizer, raw: bytes) -> None:
    assert flaw(byte, raw, byte.encode(raw)) == ""
