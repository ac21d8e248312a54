"""Likelihoods are tied to conditionals, and training to likelihoods; costs to what is executed."""

from __future__ import annotations

import pytest

from lllm.check.model import TESTS, check_composition
from lllm.check.objective import objective
from lllm.check.subject import Subject
from lllm.registry import Registry
from tests.check import ends, heads, layers, toys_more
from tests.check.compositions import toy, toys


def parts(registry: Registry) -> Registry:
    return registry.with_parts(*toys(layers, ends, heads, toys_more))


@pytest.mark.parametrize(
    ("head", "ratio"), [("toy_cheap", 4), ("toy_cheap", 3), ("toy_masked", 4), ("toy_masked", 2), ("toy_cheap", 1)]
)
def test_a_cheap_unbiased_estimator_is_legal(registry: Registry, head: str, ratio: int) -> None:
    known = parts(registry)
    assert check_composition(known, toy(known, head=head, ratio=ratio), seeds=range(2)) == []


@pytest.mark.parametrize(
    ("nodes", "test", "message"),
    [
        ({"head": "bad_climbs"}, "OBJECTIVE", "train_loss, of kind exact, is -"),
        ({"head": "bad_climbs_bound"}, "OBJECTIVE", "train_loss, of kind bound, is -"),
        ({"head": "bad_first_slot"}, "OBJECTIVE", "descending it trains another model"),
        ({"head": "bad_scores"}, "T-SLOT", "'scales' of slot 3 is"),
        ({"head": "bad_trades"}, "T-SLOT", "'scales' of slot 0 is 5.0e-04 nats"),
        ({"head": "bad_later_chunk"}, "PROBE", "'bound' of later text"),
        ({"ffn": "bad_gift"}, "COST", "declares -1,000,000,000 FLOPs of its own"),
        ({"ffn": "bad_discount"}, "COST", "only pairs of positions that do not see one another may be left out"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_controls_fail_one_test_only(registry: Registry, nodes: dict[str, str], test: str, message: str) -> None:
    """None of the others sees the fault, but for the probe of some."""
    known = parts(registry)
    found = check_composition(known, toy(known, **nodes), seeds=range(2), tests=TESTS)
    failures = {f.test: f.message for f in found}
    assert test in failures
    assert set(failures) <= {test, "PROBE"}, failures
    assert message in failures[test]


def test_what_does_not_apply_is_said(registry: Registry) -> None:
    known = parts(registry)
    cases = {
        "toy_diffusion": {"T-COND (not projective)", "T-SLOT (no exact likelihood per slot)"},
        "toy_sampler": {
            "T-COND (no categorical conditionals)",
            "T-SLOT (no categorical conditionals)",
            "OBJECTIVE (train_loss is of kind none)",
        },
        "toy_var": set[str](),
    }
    for head, expected in cases.items():
        notes = set[str]()
        check_composition(known, toy(known, ratio=3, head=head), seeds=range(1), notes=notes)
        assert notes == expected


def test_the_default_loss_is_the_primary_likelihood(registry: Registry) -> None:
    known = parts(registry)
    for head in ("toy_var", "toy_stateful", "local_ar"):
        subject = Subject(known, toy(known, ratio=3, head=head), 0)
        assert objective(subject) is None
