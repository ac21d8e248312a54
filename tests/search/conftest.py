"""A working directory with a tiny experiment in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.helpers import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)
