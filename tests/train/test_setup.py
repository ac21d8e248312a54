"""What cannot be trained or scored is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.errors import UserError
from lllm.train.setup import Setup
from tests.launch.helpers import TINY, Place
from tests.train import toys_model

MARKED = '''
"""Documents whose beginnings are read and not scored."""
from lllm.data import Corpus, Document
from lllm.registry import PartConfig, register

@register("corpus", "marked")
class Marked(Corpus):
    """Thirty documents."""
    class Config(PartConfig):
        """span: bytes that are not scored. splits: in which."""
        span: int = 3
        splits: str = "train valid"
    def documents(self, split):
        span = self.config.span if split in self.config.splits else 0
        for i in range(30):
            yield Document(f"{split} document number {i}".encode(), unscored=[(0, span)] if span else [])
    def digest(self):
        return f"{self.config.span} {self.config.splits}"
    def describe(self):
        return "thirty documents"
'''


def prepared(path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Setup:
    place = Place(path, monkeypatch)
    (path / "marked.py").write_text(MARKED)
    place.plugins = [path / "marked.py", Path(str(toys_model.__file__))]
    arms, _ = place.arms("corpus.use=marked", *words)
    return arms.arm("base").setup


@pytest.mark.parametrize("splits", ["train", "valid", "train valid"])
def test_partly_scored_chunks_need_nats_per_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splits: str) -> None:
    words = (f"corpus.splits={splits}",)
    with pytest.raises(
        UserError, match=r"model.head 'toy_chunk': its '\w+' is of whole chunks of 4 tokens, and corpus"
    ):
        prepared(tmp_path, monkeypatch, "model.head.use=toy_chunk", *words)
    prepared(tmp_path, monkeypatch, *words)


def test_whole_chunks_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = prepared(tmp_path, monkeypatch, "model.head.use=toy_chunk", "corpus.span=4")
    assert "scored" in setup.batches(0).rows.names


def test_data_shared_by_variants_are_judged_by_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, monkeypatch)
    (tmp_path / "marked.py").write_text(MARKED)
    place.plugins = [tmp_path / "marked.py", Path(str(toys_model.__file__))]
    place.write(TINY + "variants:\n  plain: {}\n  whole: {model.head: toy_chunk}\n")
    arms, _ = place.arms("corpus.use=marked")
    assert arms.arm("plain").setup.documents == 30
    with pytest.raises(UserError, match=r"model.head 'toy_chunk': its '\w+' is of whole chunks"):
        arms.arm("whole")
