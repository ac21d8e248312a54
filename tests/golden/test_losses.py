"""What lllm's own code and the shipped parts mean: an edit that moves one of these losses makes old runs stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lllm.registry import Registry, load_registry
from tests.golden.losses import PINNED, STEPS, alone, cases, losses

PINS: dict[str, list[float]] = json.loads(PINNED.read_text())


def test_every_shipped_part_has_its_losses_pinned(registry: Registry) -> None:
    assert sorted(PINS) == sorted(cases(registry))
    assert all(len(found) == STEPS + 1 for found in PINS.values())


@pytest.mark.parametrize("case", sorted(PINS))
def test_losses_are_those_that_were_pinned(registry: Registry, case: str, tmp_path: Path) -> None:
    """Otherwise: `python -m tests.golden.losses`, and see there what else it takes."""
    with alone():
        assert losses(registry, case, tmp_path) == pytest.approx(PINS[case], rel=1e-7)


def test_a_changed_constant_moves_a_loss(tmp_path: Path) -> None:
    """The control: the smallest edit of a part is seen."""
    path = tmp_path / "registry" / "blocks" / "prenorm.py"
    shipped = load_registry(cwd=tmp_path).get("block", "prenorm").path
    path.parent.mkdir(parents=True)
    path.write_text(shipped.read_text() + EDIT)
    with alone():
        found = losses(load_registry(cwd=tmp_path), "mixer/attention", tmp_path)
    assert found[0] != pytest.approx(PINS["mixer/attention"][0], rel=1e-7)


EDIT = """
_forward = PreNormBlock.forward
PreNormBlock.forward = lambda self, x, *rest: _forward(self, 1.0001 * x, *rest)
"""
