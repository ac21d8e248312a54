"""Bits per byte is what its definition says, document by document."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch

from lllm.data import Shard
from lllm.data.batches import Batch, beginnings, valid_batches
from lllm.model import LatentModel
from lllm.registry import Registry
from lllm.train import evaluate as module
from lllm.train.evaluate import Evaluation, evaluate
from lllm.train.world import World
from tests.train.helpers import CONTEXT, MULTIPLE, bytes_per_token, model, shard, texts, tokenizer, toys

CASES: dict[str, dict[str, Any]] = {
    "local": {},
    "flat": {"ratio": 1, "head": "parallel"},
    "bound per chunk": {"head": "toy_chunk"},
    "noisy in training only": {"ffn": "toy_steered"},
}


def rows(data: Shard, *, size: int = 5) -> Iterator[Batch]:
    return valid_batches([data], context=CONTEXT, size=size, pad=258)


def scored(registry: Registry, built: LatentModel, data: Shard, **options: Any) -> Evaluation:
    size = options.pop("size", 5)
    return evaluate(
        built,
        rows(data, size=size),
        documents=len(data.sizes),
        bytes_per_token=bytes_per_token(registry),
        **options,
    )


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_it_is_a_plain_loop_over_documents(registry: Registry, name: str, marked: bool) -> None:
    registry = toys(registry)
    built, data = model(registry, **CASES[name]), shard(registry, marked=marked, count=10)
    if marked and name == "bound per chunk":
        return  # refused before any training: see `_refuse_mixed_chunks` in lllm/train/setup.py
    found = scored(registry, built, data)
    size = bytes_per_token(registry)
    documents, raw = [], []
    nats: dict[str, list[float]] = {}
    slots, places = np.zeros((2, built.head.ratio)), np.zeros((2, 40))
    text = 0.0
    for document in range(len(data.sizes)):
        begin, end = int(data.offsets[document]), int(data.offsets[document + 1])
        total, of_bytes, any_scored = dict.fromkeys(found.scores, 0.0), 0, False
        for start in range(0, end - begin, CONTEXT):
            ids = torch.from_numpy(data.tokens[begin + start : min(begin + start + CONTEXT, end)].astype(np.int64))[
                None
            ]
            ok = ids != 258
            zero = torch.zeros(1, dtype=torch.long)
            _, likelihoods = built.eval().score(Batch(ids, ok, zero, zero, zero, zero))
            keep = ok
            if "scored" in data.columns:
                column = data.columns["scored"][begin + start : begin + start + ids.shape[1]]
                keep = ok & (torch.from_numpy(column.copy())[None] > 0)
            of_bytes += int((size[ids] * keep).sum())
            any_scored = any_scored or bool(keep.any())
            for key, likelihood in likelihoods.items():
                if likelihood.slots is None:
                    total[key] += float(likelihood.nats.detach().sum())
                    continue
                per_token = likelihood.slots.detach().view(ids.shape) * keep
                total[key] += float(per_token.sum())
                if not likelihood.primary:
                    continue
                text += float((per_token * (size[ids] > 0)).sum())
                for t in range(ids.shape[1]):
                    if keep[0, t]:
                        bucket = int(math.log2(start + t + 1))
                        slots[:, t % built.head.ratio] += (float(per_token[0, t]), 1)
                        places[:, bucket] += (float(per_token[0, t]), 1)
        if any_scored:
            documents.append(document)
            raw.append(of_bytes)
            for key, value in total.items():
                nats.setdefault(key, []).append(value)
    assert found.documents.tolist() == documents
    assert found.bytes.tolist() == raw
    for key, score in found.scores.items():
        assert score.nats == pytest.approx(nats[key], rel=1e-12)
        assert found.bpb(key) == pytest.approx(sum(nats[key]) / math.log(2) / sum(raw), rel=1e-12)
    result = found.result()
    assert result["bpb"] == found.bpb()
    assert result["evaluated_bytes"] == sum(raw)
    assert result["kind"] == ("bound" if name == "bound per chunk" else "exact")
    if name == "bound per chunk":
        assert result["bpb_text"] is None
        assert result["slots"] == []
        return
    assert result["bpb_text"] == pytest.approx(text / math.log(2) / sum(raw), rel=1e-12)
    assert result["bpb_text"] < result["bpb"]
    assert result["slots"] == pytest.approx((slots[0] / slots[1]).tolist(), rel=1e-12)
    assert result["positions"] == pytest.approx(
        {str(2**i - 1): places[0, i] / places[1, i] for i in range(40) if places[1, i]}, rel=1e-12
    )


@pytest.mark.parametrize("name", CASES)
def test_rows_at_once_change_nothing(registry: Registry, name: str) -> None:
    registry = toys(registry)
    built, data = model(registry, **CASES[name]), shard(registry)
    whole = scored(registry, built, data, size=100)
    for size in (1, 3, 16):
        part = scored(registry, built, data, size=size)
        assert part.bpb() == pytest.approx(whole.bpb(), rel=1e-12)
        assert part.bytes.tolist() == whole.bytes.tolist()


def test_bytes_are_those_of_the_text(registry: Registry) -> None:
    built, data = model(registry), shard(registry)
    found = scored(registry, built, data)
    assert found.bytes.tolist() == [len(text) for text in texts(24)] == data.sizes.tolist()
    assert found.bytes.sum() + found.ends.sum() == sum(len(text) + 1 for text in texts(24))  # EOS is predicted, too


def test_of_a_cut_document_its_beginning_is_scored_and_no_end(registry: Registry) -> None:
    built, data = model(registry), shard(registry)
    (some,) = beginnings([data], tokenizer(registry), MULTIPLE, 24 * 40)
    found = scored(registry, built, some)
    sizes = [len(text) for text in texts(24)]
    assert found.bytes.tolist() == [min(size, 40) for size in sizes]
    assert found.ends.tolist() == [int(size <= 40) for size in sizes]
    assert len(found.rows) == sum(-(-len(ids) // CONTEXT) for ids in np.split(some.tokens, some.offsets[1:-1]))
    assert found.result()["bytes_per_row"] == sum(found.bytes) / len(found.rows)


def test_statistics_of_the_last_step_reach_the_parts(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    built, data = model(registry), shard(registry, count=3)
    given: list[Any] = []
    score = LatentModel.score

    def watched(self: LatentModel, batch: Any, **options: Any) -> Any:
        given.append(options["last"])
        return score(self, batch, **options)

    monkeypatch.setattr(LatentModel, "score", watched)
    scored(registry, built, data, last={"steered": 0.5})
    assert given
    assert all(last == {"steered": 0.5} for last in given)


def test_the_model_is_in_evaluation_and_back(registry: Registry) -> None:
    registry = toys(registry)
    built, data = model(registry, ffn="toy_steered"), shard(registry)
    assert built.training
    assert scored(registry, built, data).bpb() == scored(registry, built, data).bpb()
    assert built.training


def _keeping(held: list[list[torch.Tensor]]) -> Any:
    return lambda self, tensors: held.append([tensor.clone() for tensor in tensors])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", ["local", "bound per chunk"])
def test_several_ranks_are_one(registry: Registry, name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank's sums, added as all_reduce would; the last batch has fewer rows than there are ranks, and with one
    document some rank has none at all."""
    registry = toys(registry)
    built = model(registry, **CASES[name])
    for count in (7, 1):
        data = shard(registry, count=count, seed=2)
        whole = scored(registry, built, data, size=4)
        held: list[list[torch.Tensor]] = []
        with monkeypatch.context() as patch:
            patch.setattr(World, "sum_", _keeping(held))
            patch.setattr(module, "_finish", lambda sums, by_row: (sums, by_row))
            for rank in range(size):
                sums, by_row = cast(Any, scored(registry, built, data, size=4, world=World(rank, size)))
        assert len({len(tensors) for tensors in held}) == 1  # every rank takes part in every sum
        for target, *pieces in zip([*sums.all(), by_row], *held, strict=True):
            target.copy_(torch.stack(pieces).sum(0))
        together = module._finish(sums, by_row)
        assert together.rows.tolist() == pytest.approx(whole.rows.tolist(), rel=1e-12)
        assert together.bpb() == pytest.approx(whole.bpb(), rel=1e-12)
        assert together.documents.tolist() == whole.documents.tolist()
        assert together.bytes.tolist() == whole.bytes.tolist()
        assert together.slots == pytest.approx(whole.slots, rel=1e-12)
        for key, score in together.scores.items():
            assert score.nats.tolist() == pytest.approx(whole.scores[key].nats.tolist(), rel=1e-12)
