"""Registering is testing: the suite of every registered part, and a covering set of all of them together."""

from __future__ import annotations

import pytest

from lllm.check import suite
from lllm.check.compositions import WIDTH, asked, cover
from lllm.check.model import SEEDS, describe
from lllm.check.suite import Checker
from lllm.model import Composition
from lllm.registry import Registry, load_registry
from tests.helpers import composition

LOADED = load_registry()
COVER = cover(LOADED)
ASKED = dict(asked(LOADED))


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


@pytest.mark.parametrize("where", ASKED)
def test_what_experiments_ask_about_conforms(checker: Checker, where: str) -> None:
    assert checker.composition(ASKED[where], SEEDS[:2]) == []


def test_every_variant_of_every_shipped_experiment_is_among_them() -> None:
    """Small, and with the options that the files give."""
    assert {"quickstart flat", "quickstart local_ar", "shakespeare local_ar"} <= set(ASKED)
    flat = ASKED["quickstart flat"]
    assert (flat.ratio, flat.width, flat.parts["head"].delta()["hidden"]) == (1, WIDTH, 0)


def test_the_command_covers_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "cover", lambda registry: [])
    monkeypatch.setattr(Checker, "composition", lambda self, choice, seeds: [])
    assert [outcome.where for outcome in Checker(LOADED).covering()] == list(ASKED)


def test_the_share_that_is_checked_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checker, "composition", lambda self, *asked: [])
    checker, told = Checker(LOADED), list[float]()
    checker.done = told.append
    checker.part(LOADED.get("mixer", "attention"))
    assert told == sorted(told)
    assert len(told) > 8  # ratios and options
    assert told[-1] == 1


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
