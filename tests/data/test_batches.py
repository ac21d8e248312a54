"""Every token once an epoch, in an order that depends on (seed, step) alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lllm.data import Document, Tokenizer
from lllm.data.batches import TrainBatches, beginnings, cut, valid_batches
from lllm.data.dataset import Shard, write_shard
from lllm.data.prepare import shard_of
from lllm.errors import UserError
from lllm.registry import Build, PartConfig, Registry
from tests.data.toys import Pairs

PAD = 258
PAIRS = Pairs(PartConfig(), Build(Registry(), {}))


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    made = []
    for i, lengths in enumerate([[40, 8], [96]]):
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.arange(offsets[-1], dtype=np.uint16) + 100 * i
        hashes = np.zeros((len(lengths), 16), dtype=np.uint8)
        sizes = np.array(lengths, dtype=np.int64)
        shard = Shard(Path(), tokens, offsets, hashes, sizes, {"weight": tokens.astype(np.float32)})
        write_shard(tmp_path / f"s{i}", shard)
        made.append(Shard.open(tmp_path / f"s{i}"))
    return made


def batches(shards: list[Shard], seed: int = 0, size: int = 3) -> TrainBatches:
    return TrainBatches(shards, context=16, size=size, multiple=8, pad=PAD, seed=seed)


@given(st.lists(st.integers(1, 60).map(lambda n: n * 8), min_size=1, max_size=9), st.integers(0, 3))
def test_pieces_cover_every_document_exactly_once(lengths: list[int], place: int) -> None:
    pieces = cut(np.array(lengths), 32, place * 8)
    for document, length in enumerate(lengths):
        mine = pieces[pieces[:, 0] == document]
        covered = [token for _, start, size in mine for token in range(start, start + size)]
        assert covered == list(range(length))
        assert (mine[:, 2] <= 32).all()
        assert (mine[:, 2] > 0).all()


def test_a_batch_is_a_function_of_seed_and_step(shards: list[Shard]) -> None:
    ahead, fresh = batches(shards), batches(shards)
    run = [ahead.at(step).tokens for step in range(20)]
    assert torch.equal(fresh.at(17).tokens, run[17])
    assert torch.equal(fresh.at(3).tokens, run[3])
    assert not torch.equal(batches(shards, seed=1).at(3).tokens, run[3])


def test_columns_are_aligned_and_padding_is_not_ok(shards: list[Shard]) -> None:
    for step in range(8):
        batch = batches(shards).at(step)
        assert torch.equal(batch.columns["weight"][batch.ok].long(), batch.tokens[batch.ok])
        assert (batch.tokens[~batch.ok] == PAD).all()
        assert batch.rows.tolist() == list(range(step * 3, step * 3 + 3))


def test_slices_are_the_batch(shards: list[Shard]) -> None:
    batch = batches(shards).at(2)
    assert torch.equal(torch.cat([batch.slice(0, 1).tokens, batch.slice(1, 3).tokens]), batch.tokens)
    assert torch.equal(batch.slice(1, 3).columns["weight"], batch.columns["weight"][1:])


def test_validation_reads_every_token_in_order(shards: list[Shard]) -> None:
    seen = torch.cat([b.tokens[b.ok] for b in valid_batches(shards, context=16, size=2, pad=PAD)])
    assert seen.tolist() == [*range(48), *range(100, 196)]


@given(
    st.lists(st.integers(1, 60).map(lambda n: n * 8), min_size=1, max_size=9),
    st.sampled_from([16, 32]),
    st.integers(0, 3),
)
def test_a_document_that_fits_a_row_is_one_row(lengths: list[int], context: int, place: int) -> None:
    pieces = cut(np.array(lengths), context, place * 8 % context)
    for document, length in enumerate(lengths):
        mine = pieces[pieces[:, 0] == document, 1:].tolist()
        assert (mine == [[0, length]]) == (length <= context)


def test_a_document_of_exactly_a_row_is_never_cut(tmp_path: Path) -> None:
    tokens = np.arange(4 * 256, dtype=np.uint16) % 200
    sizes = np.full(4, 256, dtype=np.int64)
    hashes, offsets = np.zeros((4, 16), dtype=np.uint8), np.arange(5, dtype=np.int64) * 256
    write_shard(tmp_path / "s", Shard(Path(), tokens, offsets, hashes, sizes, {}))
    rows = TrainBatches([Shard.open(tmp_path / "s")], context=256, size=2, multiple=8, pad=PAD, seed=0)
    for step in range(20):  # ten epochs, nearly all with an offset
        assert rows.at(step).ok.all()
        assert rows.at(step).starts.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ([5000] * 40, 3200, [100] * 32),  # 32 documents, a 32nd of the bytes of each
        ([50] * 10 + [5000] * 40, 3200, [50] * 10 + [100] * 27),  # short ones leave room for more documents
        ([5000] * 4, 3200, [800] * 4),  # of fewer documents an equal share
        ([5000, 10], 3200, [1600, 10]),
        ([70] * 3, 3200, [70] * 3),
        ([5000], 10, [10]),
        ([5000] * 40, 10, [1] * 10),
    ],
)
@pytest.mark.parametrize("name", ["byte", "pairs"])
def test_an_evaluation_is_cut_in_raw_bytes(
    registry: Registry, name: str, sizes: list[int], most: int, expected: list[int]
) -> None:
    random = np.random.default_rng(0)
    raws = [random.integers(0, 3, size, dtype=np.uint8).tobytes() for size in sizes]  # many pairs of 0 and another byte
    tokenizer: Tokenizer = Build(registry, {}).part("tokenizer", "byte") if name == "byte" else PAIRS
    weights = [np.arange(len(raw), dtype=np.float32) for raw in raws]
    documents = [Document(raw, columns={"weight": weight}) for raw, weight in zip(raws, weights, strict=True)]
    halves = [shard_of(documents[:1], tokenizer, 8), shard_of(documents[1:], tokenizer, 8)] if len(raws) > 1 else []
    found = beginnings(halves or [shard_of(documents, tokenizer, 8)], tokenizer, 8, most)
    cut_short = [(s, i) for s in found for i in range(len(s.sizes))]
    assert [int(s.sizes[i]) for s, i in cut_short] == expected
    for (s, i), raw, size in zip(cut_short, raws, expected, strict=False):
        ids = s.tokens[s.offsets[i] : s.offsets[i + 1]].astype(np.int64)
        ends = int((ids == tokenizer.eos).sum())
        assert tokenizer.decode(ids) == raw[:size]  # the same bytes by either tokenizer
        assert ends == (size == len(raw))
        assert len(ids) % 8 == 0
        weight = s.columns["weight"][s.offsets[i] : s.offsets[i + 1]]
        content = tokenizer.bytes_per_token[ids] > 0
        assert (np.diff(weight[content]) >= 0).all()
        assert weight[content][-1] == pytest.approx(size - 1, abs=1)
    (whole, *_) = beginnings(halves or [shard_of(documents, tokenizer, 8)], tokenizer, 8, None)
    assert whole.sizes[0] == sizes[0]


def test_a_context_must_hold_whole_multiples(shards: list[Shard]) -> None:
    with pytest.raises(UserError, match=r"data\.context = 12"):
        TrainBatches(shards, context=12, size=1, multiple=8, pad=PAD, seed=0)


def test_a_prompt_is_what_is_read_before_the_first_scored_token(tmp_path: Path) -> None:
    lengths = [16, 8, 16]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.arange(40, dtype=np.uint16)
    tokens[21:24] = PAD
    scored = np.ones(40, dtype=np.float32)
    scored[:5], scored[9], scored[16:24] = 0, 0, 0  # the second document is never scored
    hashes, sizes = np.zeros((3, 16), dtype=np.uint8), np.array(lengths, dtype=np.int64)
    write_shard(tmp_path / "s", Shard(Path(), tokens, offsets, hashes, sizes, {"scored": scored}))
    (batch,) = valid_batches([Shard.open(tmp_path / "s")], context=16, size=3, pad=PAD)
    assert batch.prompt.tolist() == [5, 5, 0]  # of the second, its real tokens
    assert batch.segment[:, 0].tolist() == [0, 1, 2]
    assert batch.segment.shape == batch.tokens.shape


def test_without_spans_that_are_not_scored_there_is_no_prompt(shards: list[Shard]) -> None:
    assert batches(shards).at(0).prompt.tolist() == [0, 0, 0]
