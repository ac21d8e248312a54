"""What an evaluation found by document, in groups of whole documents where there are many."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lllm.errors import UserError
from lllm.results.committed import load_records, write_committed
from lllm.results.documents import Blocks, Documents, blocks_of, contiguous, read_documents, write_documents
from lllm.results.run import Run
from tests.results.conftest import MakeRun


@given(st.lists(st.integers(0, 1000), max_size=300), st.integers(1, 64))
def test_groups_are_contiguous_few_and_alike(sizes: list[int], most: int) -> None:
    size = np.array(sizes, np.int64)
    group = contiguous(size, most)
    sums = np.array([size[group == g].sum() for g in range(group.max(initial=-1) + 1)])
    assert len(group) == len(sizes)
    assert len(sums) <= most
    assert sums.sum() == size.sum()
    if not sizes:
        return
    assert group[0] == 0
    assert set(np.diff(group)) <= {0, 1}
    if size.sum():
        assert sums.min() > 0
        assert sums.max() <= size.sum() / most + size.max() + 1


def test_items_of_one_size_are_groups_of_one_size() -> None:
    assert contiguous(np.full(128, 7, np.int64)).tolist() == [i // 2 for i in range(128)]
    assert contiguous(np.array([10, 0, 10, 0], np.int64)).tolist() == [0, 0, 1, 1]
    assert contiguous(np.array([0, 0], np.int64)).tolist() == [0, 0]


def some(count: int, *, cost: float = 1.0, seed: int = 0) -> Documents:
    random = np.random.Generator(np.random.PCG64(seed))
    size = random.integers(50, 500, count)
    nats = cost * size * random.uniform(0.9, 1.1, count)
    hashes = random.integers(0, 256, (count, 16)).astype(np.uint8)
    return Documents(hashes, size, {"exact": nats, "other": nats})


def written(run: Run, documents: Documents, root: Path) -> Blocks | None:
    """What the run's directory has, and then its committed line alone: the same."""
    write_documents(run.path / "documents.npz", documents)
    here = _only(root)
    (root / "study" / "runs.jsonl").unlink(missing_ok=True)  # a line of a run with these numbers is not read anew
    write_committed(root, "study", load_records(root))
    shutil.move(run.path, root.parent / "away")
    there = _only(root)
    shutil.move(root.parent / "away", run.path)
    assert (here is None) == (there is None)
    if here is None or there is None:
        return None
    assert (here.key, here.documents, here.bytes.tolist(), here.nats.tolist()) == (
        there.key,
        there.documents,
        there.bytes.tolist(),
        there.nats.tolist(),
    )
    assert here.bytes.dtype == there.bytes.dtype == np.int64
    assert here.nats.dtype == there.nats.dtype == np.float64
    return here


def _only(root: Path) -> Blocks | None:
    (record,) = load_records(root)
    return blocks_of(record)


def test_many_documents_are_in_groups(make_run: MakeRun, root: Path) -> None:
    documents = some(1000)
    found = written(make_run("flat"), documents, root)
    assert found is not None
    assert found.documents == 1000
    assert len(found.bytes) == len(found.nats) == 64
    assert found.bytes.sum() == documents.bytes.sum()
    assert found.nats.sum() == pytest.approx(documents.nats["exact"].sum(), rel=1e-6)
    ends = set(np.cumsum(documents.bytes).tolist())
    assert set(np.cumsum(found.bytes).tolist()) <= ends  # whole documents


@pytest.mark.parametrize("count", [1, 63, 64])
def test_few_documents_are_as_they_are(make_run: MakeRun, root: Path, count: int) -> None:
    documents = some(count)
    found = written(make_run("flat"), documents, root)
    assert found is not None
    assert found.documents == count
    assert found.bytes.tolist() == documents.bytes.tolist()
    assert found.nats == pytest.approx(documents.nats["exact"], rel=1e-6)


def test_the_key_says_what_was_scored_and_not_what_it_cost(make_run: MakeRun, root: Path) -> None:
    def key(documents: Documents) -> str:
        write_documents(run.path / "documents.npz", documents)
        found = _only(root)
        assert found is not None
        return found.key

    run = make_run("flat")
    for count in (3, 100):
        one, other = some(count), some(count, seed=1)
        same = key(one)
        assert key(some(count, cost=2.0)) == same
        assert key(Documents(other.hash, one.bytes, one.nats)) != same
        assert key(Documents(one.hash, one.bytes + 1, one.nats)) != same


def test_what_has_none(make_run: MakeRun, root: Path) -> None:
    run = make_run("flat")
    assert written(run, some(0), root) is None
    (run.path / "documents.npz").unlink()
    assert _only(root) is None
    no_nats = make_run("flat", 0, results={"kind": "none", "likelihood": "distance", "bpb": None})
    assert written(no_nats, some(3), root) is None
    assert "blocks" not in json.loads((root / "study" / "runs.jsonl").read_text())


def test_a_damaged_file_is_one_sentence(make_run: MakeRun, root: Path) -> None:
    path = make_run("flat").path / "documents.npz"
    path.write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"documents\.npz: damaged; expected the arrays"):
        _only(root)
    whole = some(3)
    for nats in (np.ones(7), np.ones((3, 1))):
        write_documents(path, Documents(whole.hash, whole.bytes, {"exact": nats}))
        with pytest.raises(UserError, match=r"documents\.npz: damaged; its arrays"):
            _only(root)
    write_documents(path, Documents(whole.hash, whole.bytes[:2], whole.nats))
    with pytest.raises(UserError, match=r"documents\.npz: damaged; its arrays"):
        read_documents(path)


@pytest.mark.parametrize(
    "blocks",
    [
        {"documents": 3},
        {"key": "a", "documents": 1, "bytes": [1, 2], "nats": [1.0]},
        {"key": "a", "documents": "many", "bytes": [1], "nats": [1.0]},
        {"key": "a", "documents": 1, "bytes": ["x"], "nats": [1.0]},
        {"key": "a", "documents": 1, "bytes": 1, "nats": 1.0},
        {"key": "a", "documents": 1, "bytes": [1e400], "nats": [1.0]},
    ],
)
def test_a_damaged_line_is_one_sentence(make_run: MakeRun, root: Path, blocks: Any) -> None:
    run = make_run("flat")
    path = write_committed(root, "study", load_records(root))
    shutil.rmtree(run.path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "blocks": blocks}) + "\n")
    (record,) = load_records(root)
    with pytest.raises(UserError, match=r"study/flat/\w+/s0, its line of runs\.jsonl: its blocks are damaged"):
        blocks_of(record)
