"""A wheel in an empty folder is the whole of lllm: parts, experiments and frozen texts travel inside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the contents of the wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def lllm(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from lllm.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def test_only_lllm_is_installed(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"lllm"}
    for source in ("registry", "experiments"):
        suffix = "*.py" if source == "registry" else "*.yaml"
        inside = installed / "lllm" / "_shipped" / source
        shipped = {path.relative_to(inside) for path in inside.rglob(suffix)}
        assert shipped == {p.relative_to(ROOT / source) for p in (ROOT / source).rglob(suffix)}


def test_the_wheel_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    listed = lllm(installed, tmp_path, "list", "parts", "--json")
    assert listed.returncode == 0, listed.stderr
    assert str(installed / "lllm" / "_shipped" / "registry") in listed.stdout
    tiny = ["model.width=16", "data.context=32", "train.batch=4", "eval.bytes=2000", "budget={steps: 2}"]
    done = lllm(installed, tmp_path, "run", "shakespeare", *tiny)
    assert done.returncode == 0, done.stderr
    assert "exact" in done.stdout
