"""The probe sees planted cheats at a run's size, and nothing in legal unusual parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.registry import Registry, load_registry
from tests.plants import LEGAL, PLANTS, files
from tests.probe.helpers import probed

HONEST_BUT_FEW = "a quarter of the targets"  # scores honestly what it scores: the table does not compare it


@pytest.fixture(scope="module")
def planted() -> Registry:
    return load_registry(files())


@pytest.mark.parametrize("name", PLANTS)
def test_a_cheat_is_seen(planted: Registry, name: str, tmp_path: Path) -> None:
    _, _, _, found = probed(planted, PLANTS[name], tmp_path)
    assert found.passed == (name == HONEST_BUT_FEW), found.record()


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_part_passes(planted: Registry, name: str, tmp_path: Path) -> None:
    _, _, _, found = probed(planted, LEGAL[name], tmp_path)
    assert found.passed, found.record()
    assert found.covered == 256
    assert found.largest < 1e-4
