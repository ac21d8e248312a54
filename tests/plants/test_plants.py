"""Every plant cheats, by a witness of its own, and trains; every legal part is honest, by all of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lllm.registry import Registry, load_registry
from tests.plants import LEGAL, PLANTS, files
from tests.plants.witness import Witness

FAR, ROUNDING = 5e-2, 1e-4  # nats, or a probability
ALL = {**PLANTS, **LEGAL}


@pytest.fixture(scope="module")
def planted() -> Registry:
    return load_registry(files())


def test_the_kinds_of_the_appendix_are_planted(planted: Registry) -> None:
    kinds = Counter(next(iter(plant.overrides)).removeprefix("model.") for plant in PLANTS.values())
    assert kinds == {"mixer": 18, "downsampler": 2, "trunk": 1, "embedding": 3, "head": 3, "visibility": 2}
    assert len(LEGAL) == 8
    nodes = [next(iter(plant.overrides.values())) for plant in ALL.values()]
    names = {node if isinstance(node, str) else node["use"] for node in nodes}
    assert names == {entry.name for entry in planted.entries.values() if entry.source == "plugin"}
    assert len(names) == len(ALL)


@pytest.mark.parametrize("name", PLANTS)
def test_a_plant_cheats(planted: Registry, name: str, tmp_path: Path) -> None:
    assert getattr(Witness(planted, PLANTS[name], tmp_path), PLANTS[name].seen)() > FAR


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_part_does_not(planted: Registry, name: str, tmp_path: Path) -> None:
    witness = Witness(planted, LEGAL[name], tmp_path)
    for seen in ("score", "forward", "company", "end", "twice", "cached", "targets"):
        assert getattr(witness, seen)() < ROUNDING, seen


@pytest.mark.parametrize("name", ALL)
def test_it_trains(planted: Registry, name: str, tmp_path: Path) -> None:
    witness = Witness(planted, ALL[name], tmp_path)
    model = witness.model.train()
    out = model(witness.rows, progress=0.9, step=1, seed=0, last=witness.last)
    out.nats.sum().backward()
    assert torch.isfinite(out.nats).all()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(grad).all() for grad in gradients)


def test_a_reset_forgets_the_document_before(planted: Registry, tmp_path: Path) -> None:
    witness = Witness(planted, LEGAL["a reset at documents"], tmp_path)
    rows, second = witness.rows, ~witness.half
    other = torch.where(second, rows.tokens, witness.strange.tokens)
    two = {"ok": rows.ok, "rows": rows.rows, "prompt": rows.prompt, "segment": second.long().expand_as(rows.ok)}
    pair = [witness.nats(SimpleNamespace(tokens=tokens, **two)) for tokens in (rows.tokens, other)]
    moved = (pair[0] - pair[1]).abs()
    beginning = moved.shape[1] // 2 + 1  # the first latent of the second document predicts this chunk
    assert float(moved[:, :beginning].max()) > FAR
    assert float(moved[:, beginning:].max()) < ROUNDING
