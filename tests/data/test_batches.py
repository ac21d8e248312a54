"""Every token once an epoch, in an order that depends on (seed, step) alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lllm.data.batches import TrainBatches, cut, limited, valid_batches
from lllm.data.shard import Shard, write_shard
from lllm.errors import UserError

PAD = 258


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    made = []
    for i, lengths in enumerate([[40, 8], [96]]):
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.arange(offsets[-1], dtype=np.uint16) + 100 * i
        hashes = np.zeros((len(lengths), 16), dtype=np.uint8)
        sizes = np.array(lengths, dtype=np.int64)
        write_shard(tmp_path / f"s{i}", tokens, offsets, hashes, sizes, {"weight": tokens.astype(np.float32)})
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


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (20, [*range(32)]),  # the first document is longer: cut at the row that reaches 20 bytes
        (40, [*range(40)]),
        (47, [*range(40)]),
        (79, [*range(48)]),  # 96 more do not fit, and 48 are more than half
        (100, [*range(48), *range(100, 164)]),  # 48 are less than half: the next is cut
        (144, [*range(48), *range(100, 196)]),
    ],
)
def test_a_limit_is_in_raw_bytes_of_whole_documents(shards: list[Shard], most: int, expected: list[int]) -> None:
    some = torch.cat([b.tokens[b.ok] for b in valid_batches(shards, context=16, size=2, pad=PAD, max_bytes=most)])
    assert some.tolist() == expected


@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=12),
    st.integers(1, 400),
    st.sampled_from([1.0, 2.5, 4.0]),
)
def test_every_tokenizer_scores_the_same_documents(sizes: list[int], most: int, per_token: float) -> None:
    """Which ones depends on raw bytes alone; a cut document is cut within a row of the same place."""
    raw = np.array(sizes)
    scored, reached = [], []
    for each in (1.0, per_token):
        lengths = np.ceil(raw / each).astype(np.int64)
        pieces = cut(lengths, 8, 0)
        kept = pieces[limited(pieces, lengths, raw, most)]
        scored.append(sorted(set(kept[:, 0].tolist())))
        reached.append(sum(float(raw[d] * n / lengths[d]) for d, _, n in kept))
        assert len(kept)
        assert reached[-1] <= most + 8 * each + 1e-9
        assert reached[-1] >= min(most / 2, raw.sum()) - 1e-9
    assert scored[0] == scored[1]


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
    write_shard(tmp_path / "s", tokens, offsets, hashes, sizes, {"scored": scored})
    (batch,) = valid_batches([Shard.open(tmp_path / "s")], context=16, size=3, pad=PAD)
    assert batch.prompt.tolist() == [5, 5, 0]  # of the second, its real tokens
    assert batch.segment[:, 0].tolist() == [0, 1, 2]
    assert batch.segment.shape == batch.tokens.shape


def test_without_spans_that_are_not_scored_there_is_no_prompt(shards: list[Shard]) -> None:
    assert batches(shards).at(0).prompt.tolist() == [0, 0, 0]
