"""Every plant cheats, by a witness of its own, and trains; every legal part is honest, by all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lllm.registry import Registry, load_registry
from tests.plants import LEGAL, PLANTS, files
from tests.plants.witness import WITNESSES, model_of, score, text

FAR, ROUNDING = 5e-2, 1e-4  # nats, or a probability
ALL = {**PLANTS, **LEGAL}
HONEST = ("score", "forward", "rows", "end", "twice", "cached", "targets")


@pytest.fixture(scope="module")
def planted() -> Registry:
    return load_registry(files())


def test_the_kinds_of_the_appendix_are_planted(planted: Registry) -> None:
    kinds = Counter(key.removeprefix("model.") for plant in PLANTS.values() for key in [next(iter(plant.overrides))])
    assert kinds == {"mixer": 18, "downsampler": 2, "trunk": 1, "embedding": 3, "head": 3, "visibility": 2}
    assert len(LEGAL) == 8
    named = [next(iter(plant.overrides.values())) for plant in ALL.values()]
    names = {node if isinstance(node, str) else node["use"] for node in named}
    assert names == {entry.name for entry in planted.entries.values() if entry.source == "plugin"}
    assert len(names) == len(ALL)


@pytest.mark.parametrize("name", PLANTS)
def test_a_plant_cheats(planted: Registry, name: str, tmp_path: Path) -> None:
    plant = PLANTS[name]
    model, context = model_of(planted, plant, tmp_path)
    assert WITNESSES[plant.seen](model, context, plant.last) > FAR


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_part_does_not(planted: Registry, name: str, tmp_path: Path) -> None:
    model, context = model_of(planted, LEGAL[name], tmp_path)
    for witness in HONEST:
        if name == "annealing by progress" and witness == "cached":
            continue  # `prefill` and `push` know of no progress but 0, and what is scored is at 1
        assert WITNESSES[witness](model.eval(), context, {}) < ROUNDING, witness


@pytest.mark.parametrize("name", ALL)
def test_it_trains(planted: Registry, name: str, tmp_path: Path) -> None:
    plant = ALL[name]
    model, context = model_of(planted, plant, tmp_path)
    out = model.train()(text(2, context), progress=0.9, step=1, seed=0, last=plant.last)
    out.nats.sum().backward()
    assert torch.isfinite(out.nats).all()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(grad).all() for grad in gradients)


def test_a_reset_forgets_the_document_before(planted: Registry, tmp_path: Path) -> None:
    model, context = model_of(planted, LEGAL["a reset at documents"], tmp_path)
    half = context // 2
    rows = replace(text(3, context), segment=(torch.arange(context) >= half).long().expand(3, -1))
    other = torch.cat([text(3, context, skip=1 << 16).tokens[:, :half], rows.tokens[:, half:]], 1)
    moved = (score(model, rows, {}) - score(model, replace(rows, tokens=other), {})).abs()
    beginning = half // model.ratio + 1  # the first latent of the second document predicts this chunk
    assert float(moved[:, :beginning].max()) > FAR
    assert float(moved[:, beginning:].max()) < ROUNDING
