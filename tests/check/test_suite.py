"""Registering is testing: the suite of every registered part, and a covering set of all of them together."""

from __future__ import annotations

import pytest

from lllm.check.compositions import cover
from lllm.check.model import SEEDS, describe
from lllm.check.suite import Checker
from lllm.model import Composition
from lllm.registry import Registry, load_registry
from tests.helpers import composition

LOADED = load_registry()
COVER = cover(LOADED)


@pytest.fixture(scope="session")
def checker() -> Checker:
    return Checker(LOADED)


@pytest.mark.parametrize("name", sorted(f"{kind}/{name}" for kind, name in LOADED.entries))
def test_every_registered_part_conforms(checker: Checker, name: str) -> None:
    (entry,) = LOADED.find(name)
    assert checker.part(entry).failures == []


@pytest.mark.parametrize("choice", COVER, ids=describe)
def test_every_two_parts_that_fit_conform_together(checker: Checker, choice: Composition) -> None:
    assert checker.composition(choice, SEEDS[:2]) == []


GROUPED = {"use": "attention", "heads": 2, "kv_heads": 1}


@pytest.mark.parametrize(
    "nodes",
    [
        {"ratio": 4, "mixer": GROUPED},
        {"ratio": 3, "downsampler": {"use": "conv", "kernel": 7}, "head": {"use": "local_ar", "mixer": GROUPED}},
    ],
    ids=str,
)
def test_options_that_need_one_another(checker: Checker, registry: Registry, nodes: dict[str, object]) -> None:
    assert checker.composition(composition(registry, **nodes), SEEDS[:2]) == []  # type: ignore[arg-type]
