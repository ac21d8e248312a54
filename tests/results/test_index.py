"""The index says what the files say, whatever its cache says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lllm.results import index as module
from lllm.results.files import write_json
from lllm.results.index import CACHE, index
from lllm.results.run import create, run_path
from tests.results.conftest import MakeRun, arm, info, result


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories whose files are read."""
    seen: list[Path] = []
    original = module._read_entry

    def counted(path: Path, signature: list[int]) -> list[Any]:
        seen.append(path)
        return original(path, signature)

    monkeypatch.setattr(module, "_read_entry", counted)
    return seen


def many(root: Path, count: int) -> None:
    for i in range(count):
        variant, identity = f"v{i % 4}", arm(f"{i // 8}")
        path = run_path(root, f"study{i % 2}", variant, identity, i)
        path.mkdir(parents=True)
        (path / "run.json").write_text(json.dumps(info(variant, identity, i)))
        if i % 3:
            (path / "result.json").write_text(json.dumps(result(2.0 + i / 10_000)))


def test_two_thousand_directories(root: Path, reads: list[Path]) -> None:
    many(root, 2000)
    cold = index(root)
    assert len(reads) == len(cold) == 2000
    by_seed = {record.seed: record for record in cold}
    for i in (0, 1, 1999):
        record = by_seed[i]
        assert (record.experiment, record.variant, record.arm) == (f"study{i % 2}", f"v{i % 4}", arm(f"{i // 8}"))
        assert record.state == ("finished" if i % 3 else "empty")
        assert (record.result or {}).get("bpb") == (2.0 + i / 10_000 if i % 3 else None)
        assert record.path == run_path(root, record.experiment, record.variant, record.arm, i)
    reads.clear()
    assert index(root) == cold
    assert not reads
    assert index(root, "study1") == [record for record in cold if record.experiment == "study1"]
    assert not reads

    finished = by_seed[3].path
    assert finished is not None
    write_json(finished / "result.json", result(1.25))
    write_json(by_seed[6].path / "status.json", {"state": "failed", "reason": "loss is NaN"})  # type: ignore[operator]
    shutil.rmtree(by_seed[9].path)  # type: ignore[arg-type]
    warm = {record.seed: record for record in index(root)}
    assert sorted(path.name for path in reads) == ["s3", "s6"]
    assert warm[3].result == result(1.25)
    assert (warm[6].state, warm[6].reason) == ("failed", "loss is NaN")
    assert 9 not in warm
    (root / CACHE).unlink()
    assert {record.seed: record for record in index(root)} == warm


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": "VERSION"}',
        b'{"version": "VERSION", "shared": [], "runs": []}',
        b'{"version": "VERSION", "shared": [], "runs": {"a": [[], {"config": 7}, null, null]}}',
        b'{"version": "VERSION", "shared": [], "runs": {"a": 5}}',
        b'{"version": "VERSION", "shared": [1], "runs": {"a": [[], {"config": 0}, null, null]}}',
        b'{"version": 99, "shared": [], "runs": {}}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_cache_is_rebuilt(root: Path, reads: list[Path], damage: bytes) -> None:
    many(root, 24)
    expected = index(root)
    (root / CACHE).write_bytes(damage.replace(b"VERSION", module._VERSION.encode()))
    reads.clear()
    assert index(root) == expected
    assert len(reads) == 24
    assert index(root) == expected
    assert len(reads) == 24  # and written anew


def test_a_cache_that_kept_less_of_a_run_is_rebuilt(
    root: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    many(root, 24)
    with monkeypatch.context() as before:
        before.setattr(module, "_VERSION", module._VERSION.replace(" machine", ""))
        index(root)
    reads.clear()
    index(root)
    assert len(reads) == 24


def test_the_cache_keeps_other_experiments_and_drops_what_has_gone(root: Path, reads: list[Path]) -> None:
    many(root, 80)
    index(root)
    shutil.rmtree(root / "study0")
    index(root, "study0")
    assert set(json.loads((root / CACHE).read_text())["runs"]) == {
        str(record.path.relative_to(root)) for record in index(root) if record.path
    }
    reads.clear()
    assert len(index(root)) == 40
    assert not reads


def test_a_few_runs_need_no_cache_and_a_folder_that_cannot_be_written_no_less(
    make_run: MakeRun, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("small")
    assert len(index(root)) == 1
    assert not (root / CACHE).exists()
    many(root, 24)
    (root / CACHE).mkdir()  # cannot be replaced by a file
    assert len(index(root)) == 25


def test_damaged_runs_hide_no_others(make_run: MakeRun, root: Path) -> None:
    make_run("small", 0)
    broken = make_run("small", 1, bpb=None)
    (broken.path / "run.json").write_text("{nonsense")
    odd = make_run("small", 2, bpb=None)
    write_json(odd.path / "run.json", {**info("small", arm("small"), 2), "parts": [], "fingerprints": 5})
    records = index(root)
    assert [(record.seed, record.state) for record in records] == [(0, "finished"), (1, "damaged"), (2, "damaged")]
    assert records[1].arm == arm("small")[:8]


def test_only_run_directories_are_runs(make_run: MakeRun, root: Path) -> None:
    run = make_run("small")
    (root / "study" / "table.md").write_text("")
    (run.path.parent / "notes").mkdir()
    (root / ".hidden" / "a" / "b" / "s0").mkdir(parents=True)
    create(run.path.with_name("s0.stale"), info("small", arm("small"), 0))
    assert [record.name for record in index(root)] == [run.name, f"{run.name}.stale"]
    assert index(root / "nowhere") == []
