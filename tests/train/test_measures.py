"""What a corpus and a head measure beside nats."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from lllm import load
from lllm.data import Document, Shard
from lllm.data.batches import Batch, valid_batches
from lllm.data.prepare import shard_of
from lllm.errors import UserError
from lllm.model import LatentModel
from lllm.model.generate import generate
from lllm.registry import Registry
from lllm.results.committed import read_committed, runs
from lllm.results.compare import Expected, compare, publish
from lllm.results.files import read_metrics
from lllm.results.run import Run
from lllm.results.table import text
from lllm.train import evaluate as module
from lllm.train import measures
from lllm.train.evaluate import Evaluation, evaluate
from lllm.train.measures import greedy, refuse_unmeasurable
from lllm.train.trainer import Failed
from lllm.train.world import World
from tests.check.ends import TokenDownsampler
from tests.check.heads import TokenHead
from tests.launch.helpers import Place
from tests.train import toys_measures
from tests.train.helpers import CONTEXT, MULTIPLE, Rig, bytes_per_token, model, part, tokenizer

PARTS = [value for value in vars(toys_measures).values() if hasattr(value, "__part__")]


@pytest.fixture
def toys(registry: Registry) -> Registry:
    return registry.with_parts(*PARTS, TokenHead, TokenDownsampler)


def shard(registry: Registry, *documents: Document) -> Shard:
    return shard_of(documents, tokenizer(registry), MULTIPLE)


def rows(data: Shard, size: int = 4) -> Iterator[Batch]:
    return valid_batches([data], context=CONTEXT, size=size, pad=258)


def measured(
    registry: Registry,
    built: LatentModel,
    data: Shard,
    corpus: str | None = "toy_recall",
    size: int = 4,
    **options: Any,
) -> Evaluation:
    return evaluate(
        built,
        rows(data, size),
        documents=len(data.sizes),
        bytes_per_token=bytes_per_token(registry),
        corpus=None if corpus is None else part(registry, "corpus", corpus),
        **options,
    )


def answers(raw: bytes, *places: int, unscored: tuple[tuple[int, int], ...] = ()) -> Document:
    column = np.isin(np.arange(len(raw)), places).astype(np.float32)
    return Document(raw, unscored=unscored, columns={"answer": column})


def recall(registry: Registry) -> Shard:
    """Documents of 1 to 70 bytes, three different ones, some of them answers."""
    random = np.random.default_rng(0)
    texts = [bytes(random.choice(list(b"xyz"), random.integers(1, 70)).tolist()) for _ in range(12)]
    return shard(registry, *(answers(raw, *np.flatnonzero(random.random(len(raw)) < 0.3)) for raw in texts))


def test_accuracy_at_the_answers(toys: Registry) -> None:
    """Drawn from the last slot on: in aabb ccxx the second b is guessed x, the second a b, the second c x."""
    built = model(toys, head="toy_backwards")
    data = shard(toys, answers(b"aabbccxx", 2, 3, 4, 7), answers(b"zzzx", 0, 1, 2, 3), answers(b"zzzz"))
    found = measured(toys, built, data)
    assert found.metrics["accuracy"] == pytest.approx((3 + 3) / 8)
    total = math.exp(5) + built.vocab - 1
    hit, miss = math.log2(total / math.exp(5)), math.log2(total)
    assert found.metrics["answer_bits"] == pytest.approx((6 * hit + 2 * miss) / 8)
    assert found.result()["metrics"] == found.metrics
    assert found.record(7) == {"step": 7, "bpb": found.bpb(), "metrics": found.metrics}
    assert "metrics" not in measured(toys, built, data, None).record(7)


def test_unscored_answers_and_the_end_do_not_count(toys: Registry) -> None:
    built = model(toys, head="toy_backwards")
    data = shard(toys, answers(b"aabbccxx", 2, 3, 4, 7, unscored=((0, 4),)))
    assert measured(toys, built, data).metrics["accuracy"] == 1.0  # of 4 and 7, and not of the EOS that follows


def test_nothing_to_measure_is_no_number(toys: Registry) -> None:
    found = measured(toys, model(toys, head="toy_backwards"), shard(toys, answers(b"aabb")))
    assert found.metrics == {"accuracy": None, "answer_bits": None}
    assert found.nonsense() is None


@pytest.mark.parametrize(
    "nodes",
    [
        {},
        {"head": "parallel"},
        {"ratio": 1, "head": "parallel"},
        {"head": "toy_token", "downsampler": "toy_tokens"},
    ],
)
def test_greedy_predictions_are_what_generation_goes_on_with(toys: Registry, nodes: dict[str, Any]) -> None:
    """The first token that is drawn at temperature 0 after the true tokens before it."""
    built = model(toys, **nodes).eval()
    (batch,) = rows(shard(toys, Document(b"a cat sat on it"), Document(b"and so on")))
    found = greedy(built.head, built.score(batch)[0]).view(batch.tokens.shape)
    for row, ok in enumerate(batch.ok):
        for place in range(int(ok.sum())):
            before = batch.tokens[row, :place].tolist()
            drawn = next(iter(generate(built, [before], 1, temperature=0.0)))
            assert drawn == [[int(found[row, place])]]


@pytest.mark.parametrize(
    ("head", "corpus"), [("toy_backwards", "toy_recall"), ("local_ar", "toy_recall"), ("toy_samples", None)]
)
def test_rows_at_once_and_ranks_change_nothing(
    toys: Registry, head: str, corpus: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, data = model(toys, head=head), recall(toys)
    whole = measured(toys, built, data, corpus, size=100)
    if head != "local_ar":  # which is untrained, and may well be wrong everywhere
        assert all(value and value > 0 for value in whole.metrics.values())
    assert whole.metrics
    for size in (1, 3, 16):
        assert measured(toys, built, data, corpus, size=size).metrics == pytest.approx(whole.metrics, rel=1e-12)
    assert together(toys, built, data, corpus, monkeypatch).metrics == pytest.approx(whole.metrics, rel=1e-12)
    monkeypatch.setattr(measures, "_LOGITS", 3 * CONTEXT * built.vocab)
    assert measured(toys, built, data, corpus, size=8).metrics == pytest.approx(whole.metrics, rel=1e-12)


def together(
    registry: Registry, built: LatentModel, data: Shard, corpus: str | None, monkeypatch: pytest.MonkeyPatch
) -> Evaluation:
    """Each of three ranks' sums, added as all_reduce would."""
    held: list[list[torch.Tensor]] = []
    with monkeypatch.context() as patch:
        patch.setattr(World, "sum_", lambda self, tensors: held.append([tensor.clone() for tensor in tensors]))
        patch.setattr(module, "_finish", lambda sums, by_row: (sums, by_row))
        for rank in range(3):
            sums, by_row = cast(Any, measured(registry, built, data, corpus, world=World(rank, 3)))
    assert len({len(tensors) for tensors in held}) == 1
    for target, *pieces in zip([*sums.all(), by_row], *held, strict=True):
        target.copy_(torch.stack(pieces).sum(0))
    return module._finish(sums, by_row)


def test_a_rank_without_rows_adds_nothing(toys: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    built, data = model(toys, head="toy_backwards"), shard(toys, answers(b"zzzx", 0, 1, 2, 3))
    assert together(toys, built, data, "toy_recall", monkeypatch).metrics["accuracy"] == 0.75


def test_a_head_concludes_from_means(toys: Registry) -> None:
    """Without noise and with every aim at the guess, a Brier score is 2 p - 1, p the share of n-grams that are it."""
    built = model(toys, head={"use": "toy_samples", "noise": 0.0})
    with torch.no_grad():
        built.head.up.weight.zero_()
        built.head.tokens.weight.fill_(1.0)
        built.head.tokens.weight[toys_measures.GUESS] = 0.0
    found = measured(toys, built, shard(toys, Document(b"xxxxxxab"), Document(b"xxxxxxxxxx")), None)
    first, pairs = 2 * 5 / 6 - 1, 2 * 5 / 5 - 1  # the first document ends with a chunk of its EOS alone
    assert found.metrics["brier"] == pytest.approx(100 * math.sqrt(first * pairs))
    assert found.metrics["distance"] == pytest.approx(8 * 4 / 20)  # of a, b and two EOS, among 20 tokens of width 8
    assert measured(toys, built, shard(toys, Document(b"")), None).metrics == {"distance": 8.0, "brier": None}


def test_one_name_is_one_metric(toys: Registry) -> None:
    data = recall(toys)
    with pytest.raises(
        TypeError, match=r"metric 'accuracy': corpus 'toy_recall' and head 'toy_accurate' both report it"
    ):
        measured(toys, model(toys, head="toy_accurate"), data)
    assert measured(toys, model(toys, head="toy_accurate"), data, None).metrics == {"accuracy": 1.0}


def test_what_cannot_be_added_up_is_refused(toys: Registry) -> None:
    built, data = model(toys), shard(toys, *(answers(b"aabb", 1) for _ in range(4)))
    with pytest.raises(TypeError, match=r"corpus 'toy_fickle': metrics gives \['of 1'\] for some rows and \['of 3'\]"):
        measured(toys, built, data, "toy_fickle", size=3)
    with pytest.raises(TypeError, match=r"metric 'tokens' has shapes \[\(\), \(\)\]; expected a sum and a weight of 4"):
        measured(toys, built, data, "toy_whole")


def test_a_head_without_conditionals_has_no_greedy_predictions(toys: Registry) -> None:
    corpus = part(toys, "corpus", "toy_recall")
    refuse_unmeasurable(corpus, model(toys).head)
    with pytest.raises(UserError, match=r"corpus 'toy_recall': it measures greedy predictions, and head 'toy_samples'"):
        refuse_unmeasurable(corpus, model(toys, head="toy_samples").head)


def test_a_metric_that_diverged_is_nonsense(toys: Registry) -> None:
    built = model(toys, head="toy_samples")
    found = measured(toys, built, recall(toys), None)
    assert found.bpb() is None
    assert found.nonsense() is None
    with torch.no_grad():
        built.head.up.weight.fill_(math.nan)
    assert measured(toys, built, recall(toys), None).nonsense() == "nan for 'distance'"
    found.broken = "brier_1"
    assert found.nonsense() == "no number for the metric 'brier_1'"


def test_an_evaluation_that_is_not_a_number_fails_the_run(toys: Registry, tmp_path: Path) -> None:
    rig = Rig(toys, tmp_path, nodes={"head": "toy_samples"})
    rig.trainer.run()
    assert rig.lines()[-1]["metrics"]["distance"] > 0
    with torch.no_grad():
        rig.model.head.up.weight.fill_(math.nan)
    with pytest.raises(Failed, match=r"the evaluation gives nan for 'distance'; try a lower train.lr"):
        rig.trainer.evaluate(rig.trainer.settings.steps)


def test_a_likelihood_of_kind_none_has_no_nats(toys: Registry) -> None:
    result = measured(toys, model(toys, head="toy_samples"), recall(toys), None).result()
    assert [result[name] for name in ("bpb", "bpb_text", "nats_per_byte")] == [None, None, None]
    assert (result["kind"], result["slots"], result["positions"]) == ("none", [], {})
    assert result["likelihoods"] == {"distance": {"kind": "none", "bpb": None, "primary": True}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, monkeypatch)
    place.plugins = [Path(str(toys_measures.__file__))]
    return place


def trained(place: Place, *words: str) -> Run:
    plan = place.plan(*words)
    fine, watch = place.train(plan)
    assert fine, watch.ends
    return Run(plan.runs[0].path)


def shown(run: Run) -> dict[str, str]:
    """Header -> cell of the run's row, and as committed lines give it."""
    expected = [Expected(run.variant, run.arm, True)]
    table = text(compare(Path("results"), run.experiment, expected))
    assert publish(Path("results"), run.experiment, expected) is not None
    header, row = table.splitlines()[1:3]
    return dict(zip(header.split(), row.split(), strict=False))


def test_a_run_keeps_what_its_corpus_measures(place: Place) -> None:
    run = trained(place, "corpus=toy_recall", "eval.bytes=330")
    result, lines = run.result, read_metrics(run.path / "metrics.jsonl")
    assert result is not None
    assert set(result["metrics"]) == {"accuracy", "answer_bits"}
    assert (result["documents"], result["evaluated_bytes"]) == (33, 330)  # of 40, by eval.bytes
    assert lines[-1]["metrics"] == result["metrics"]
    assert all(("metrics" in line) == ("bpb" in line) for line in lines)
    assert shown(run)["accuracy"] == f"{result['metrics']['accuracy']:.4f}"
    (committed,) = read_committed(Path("results"), run.experiment)
    assert committed.metrics == result["metrics"]
    (flat,) = runs("results")
    assert flat["metrics.accuracy"] == result["metrics"]["accuracy"]
    assert "metrics" not in flat
    again = load(run.path, plugins=place.plugins).evaluate()
    assert again.metrics == result["metrics"]


def test_a_run_without_a_likelihood_has_no_bpb(place: Place) -> None:
    run = trained(place, "model.head=toy_samples")
    result, lines = run.result, read_metrics(run.path / "metrics.jsonl")
    assert result is not None
    assert (result["kind"], result["bpb"], set(result["metrics"])) == ("none", None, {"brier", "distance"})
    assert result["generation_bytes_per_second"] > 0
    assert [line["bpb"] for line in lines if "bpb" in line] == [None] * sum("bpb" in line for line in lines)
    assert lines[-1] == {"step": 6, "bpb": None, "metrics": result["metrics"]}
    assert json.loads((run.path / "result.json").read_text())["bpb"] is None
    assert not run.documents().nats
    cells = shown(run)
    assert (cells["bpb"], cells["kind"], cells["distance"]) == ("-", "none", f"{result['metrics']['distance']:.4f}")
    assert "nats/byte" not in cells
    (flat,) = runs("results")
    assert flat["bpb"] is None
    loaded = load(run.path, plugins=place.plugins)
    assert loaded.evaluate().metrics == result["metrics"]
    with pytest.raises(UserError, match="'distance' is no likelihood; expected a head that has one"):
        loaded.loglikelihood([b"text"])


def test_a_corpus_that_measures_what_a_head_lacks_is_refused(place: Place) -> None:
    with pytest.raises(UserError, match="measures greedy predictions, and head 'toy_samples' has no categorical"):
        place.plan("corpus=toy_recall", "model.head=toy_samples")
