"""Rows are compared where they scored the same bytes of the same documents, whatever the tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lllm.launch.plan import expected
from lllm.results.compare import compare
from lllm.results.documents import read_documents
from lllm.results.run import Run
from tests.launch.helpers import TINY, Place
from tests.train import toys_targets
from tests.train.helpers import texts

VARIANTS = """
variants:
  base: {}
  quarter: {model.visibility: toy_quarter}
  prompt: {model.visibility: toy_beginning}
  pairs: {tokenizer: toy_pairs}
baseline: base
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, monkeypatch)
    place.plugins = [Path(str(toys_targets.__file__))]
    place.corpus("\n\n".join(text.decode() for text in texts(600)))
    place.write(TINY.replace("eval: {bytes: 300}", "eval: {bytes: 1600}") + VARIANTS)
    return place


def test_the_same_targets_or_no_comparison(place: Place) -> None:
    plan = place.plan()
    fine, watch = place.train(plan)
    assert fine, watch.ends
    scored = {run.arm.variant: read_documents(run.path / "documents.npz") for run in plan.runs}
    prints = {run.arm.variant: run.arm.fingerprints for run in plan.runs}
    results = {run.arm.variant: Run(run.path).result or {} for run in plan.runs}
    base, pairs = scored["base"], scored["pairs"]
    assert len(base.bytes) >= 32
    assert base.bytes.max() == 50  # a 32nd of 1600, also where a pair reaches over it
    assert np.array_equal(base.bytes, pairs.bytes)
    assert np.array_equal(base.hash, pairs.hash)
    assert results["base"]["targets"] == results["pairs"]["targets"]
    assert prints["base"]["documents"] == prints["pairs"]["documents"]
    assert prints["base"]["data"] != prints["pairs"]["data"]
    assert results["base"]["bytes_per_row"] < results["pairs"]["bytes_per_row"]
    assert scored["quarter"].bytes.sum() < 0.5 * base.bytes.sum()
    rows = expected(*place.arms(), seeds=(0,))
    said = {row.variant: row.verdict.text for row in compare(Path("results"), "tiny", rows).rows}
    assert said == {
        "base": "baseline",
        "quarter": "not comparable: other targets",
        "prompt": "not comparable: other targets",
        "pairs": "no verdict: one seed",
    }


def test_a_tokenizer_that_lies_trains_nothing(place: Place) -> None:
    code, _, err = place.lllm("run", "tiny", "base", "tokenizer=toy_inflated", "--plugin", str(toys_targets.__file__))
    assert code == 2
    assert err.startswith("error: tokenizer 'toy_inflated', document ")
    assert "bytes_per_token says 30 bytes" in err
    assert len(err.splitlines()) == 1
    assert not list(Path("results").glob("tiny/*"))
