"""A folder with a tiny experiment and two runs of it, made once; and the command line in this process."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lllm.cli import main

EXPERIMENT = """
hypothesis: Four steps of a tiny model are enough to try every verb.
corpus: {use: text, path: corpus.txt, document: blank_line, split: 0.8}
data: {context: 32}
model: {ratio: 4, width: 16, trunk: {depth: 1}}
train: {batch: 4}
eval: {bytes: 1KB}
run: {log_every: 2, sample_bytes: 8}
variants:
  flat: {model.ratio: 1, model.downsampler: identity, model.head: parallel}
  four: {model.head: parallel}
baseline: flat
budget: {steps: 4}
"""


def text(seed: int, paragraphs: int) -> str:
    """Words that a seed draws, in paragraphs of different lengths."""
    draw = random.Random(seed)
    words = ["chunk", "latent", "byte", "né", "a", "of", "token", "the", "trunk", "0"]
    return "\n\n".join(" ".join(draw.choices(words, k=draw.randint(1, 30))) for _ in range(paragraphs)) + "\n"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


Verb = Callable[..., Done]


def project(folder: Path) -> None:
    (folder / "experiments").mkdir()
    (folder / "experiments" / "tiny.yaml").write_text(EXPERIMENT)
    (folder / "corpus.txt").write_text(text(0, 60))
    (folder / "other.txt").write_text(text(1, 200))


def trained_in(folder: Path, *options: str) -> None:
    """Make the project there and train its experiment."""
    project(folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["run", "tiny", *options])
        assert ended.value.code == 0
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder: tests that change something in it work on a copy."""
    folder = tmp_path_factory.mktemp("home")
    trained_in(folder)
    return folder


@pytest.fixture
def inside(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the working directory."""
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def verb(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Run a verb in this process, in the directory that is current."""

    def run(*arguments: str | Path) -> Done:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["lllm", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        found = capfd.readouterr()
        return Done(int(ended.value.code or 0), found.out, found.err)

    return run
