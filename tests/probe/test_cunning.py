"""What hides from tests that read the same rows again, or that ask for the next token only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lllm.check.subject import randomise_
from lllm.data.batches import Batch
from lllm.model import LatentModel, compose
from lllm.probe import Calls, probe
from lllm.registry import Registry
from lllm.train.evaluate import evaluate
from tests.helpers import composition
from tests.probe.helpers import batch_of
from tests.probe.toys_cunning import PARTS


def small(registry: Registry, **nodes: object) -> LatentModel:
    known = registry.with_parts(*PARTS)
    model = compose(known, composition(known, width=16, vocab=256, illegal=(), **nodes))
    randomise_(model, 0)
    return model


@pytest.mark.parametrize(
    ("nodes", "test"),
    [
        ({"head": "cunning_backwards"}, "'independent' as it is drawn"),
        ({"head": "cunning_approx"}, "'independent' as it is drawn"),
        ({"head": "cunning_nan"}, "'independent' of the next token"),
        ({"embedding": "cunning_pairs"}, "of later text where none was read before"),
    ],
)
def test_it_is_seen(registry: Registry, nodes: dict[str, str], test: str) -> None:
    model = small(registry, **nodes)
    found = probe(Calls(model, model), batch_of(6, 96))
    assert any(test in finding.test for finding in found.findings if not finding.passed)


@pytest.mark.parametrize("head", ["cunning_honest", "cunning_backwards_honest"])
def test_the_honest_ones_pass_and_are_compared_with_what_they_draw(registry: Registry, head: str) -> None:
    model = small(registry, head=head)
    found = probe(Calls(model, model), batch_of(6, 96))
    assert found.passed
    assert found.drawn


def test_of_a_joint_that_is_not_compared_with_draws_this_is_said(registry: Registry) -> None:
    """Only `lllm check` sums it over all texts, of a small vocabulary."""
    model = small(registry, head="cunning_joint")
    found = probe(Calls(model, model), batch_of(6, 96))
    assert found.passed
    assert not found.drawn


def test_a_part_that_writes_into_what_it_reads_changes_no_target(registry: Registry) -> None:
    model, rows = small(registry, embedding="cunning_blank"), batch_of(4, 32)
    tokens, ok = rows.tokens.clone(), rows.ok.clone()
    x, _ = model.score(rows)
    assert torch.equal(rows.tokens, tokens)
    assert torch.equal(rows.ok, ok)
    assert torch.equal(x.chunk.flatten(1), tokens)
    assert not torch.equal(tokens, torch.where(tokens == 32, tokens, 32))


def evaluated(model: LatentModel, rows: Batch) -> Tensor:
    pieces = [rows.slice(start, start + 4) for start in range(0, len(rows), 4)]
    found = evaluate(model, pieces, documents=len(rows), bytes_per_token=torch.ones(256, dtype=torch.long))
    assert found.rows.sum() == pytest.approx(found.primary[1].nats.sum())
    return torch.from_numpy(found.rows)


def test_what_was_evaluated_is_what_is_probed(registry: Registry) -> None:
    rows = batch_of(16, 64)
    for head, passes in (("cunning_honest", True), ("cunning_later", False)):
        model = small(registry, head=head)
        nats = evaluated(model, rows)
        found = probe(Calls(model, model), rows, evaluated=nats)
        assert found.passed == passes
        failed = [finding for finding in found.findings if not finding.passed]
        assert [finding.test for finding in failed] == ([] if passes else ["'independent' as it was evaluated"])
        if failed:
            assert failed[0].row in range(8, 16)
