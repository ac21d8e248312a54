"""The source of parts is kept beside the runs that used them, and never in a run's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lllm.errors import UserError
from lllm.registry.source import syntax_digest
from lllm.results import sources
from lllm.results.sources import keep_sources, source_of
from tests.results.conftest import MakeRun

OLD = '"""A part."""\n\nDEPTH = 2\n'
NEW = '"""A part."""\n\nDEPTH = 3\n'


def part(path: Path, text: str = OLD) -> dict[str, Any]:
    path.write_text(text, encoding="utf-8")
    return {"path": str(path), "digest": syntax_digest(text), "version": 1}


def kept(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (root / "study" / ".sources").glob("*")}


def test_a_source_is_kept_once_by_its_digest(make_run: MakeRun, root: Path, tmp_path: Path) -> None:
    run, other = make_run("flat"), make_run("small")
    one = part(tmp_path / "one.py")
    keep_sources(run.path, {"head/first": one, "head/second": one})
    assert kept(root) == {f"{one['digest']}.py": OLD}
    (before,) = (root / "study" / ".sources").iterdir()
    stamp = before.stat().st_mtime_ns, before.stat().st_ino
    commented = OLD + "# another comment\n"
    assert part(tmp_path / "one.py", commented)["digest"] == one["digest"]
    keep_sources(other.path, {"head/first": one})
    assert kept(root) == {f"{one['digest']}.py": OLD}
    assert (before.stat().st_mtime_ns, before.stat().st_ino) == stamp
    new = part(tmp_path / "one.py", NEW)
    keep_sources(run.path, {"head/first": new})
    assert kept(root) == {f"{one['digest']}.py": OLD, f"{new['digest']}.py": NEW}
    assert source_of(run.path, one) == OLD
    assert source_of(other.path, new) == NEW


def test_what_is_kept_is_what_the_digest_says(make_run: MakeRun, root: Path, tmp_path: Path) -> None:
    """A file that was edited between loading and the run's beginning, has gone, or is no Python is not kept."""
    run = make_run("flat")
    edited = {**part(tmp_path / "edited.py", NEW), "digest": syntax_digest(OLD)}
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    found = {
        "a/edited": edited,
        "a/gone": {"path": str(tmp_path / "gone.py"), "digest": "0" * 32},
        "a/broken": {"path": str(tmp_path / "broken.py"), "digest": "1" * 32},
        "a/binary": {"path": str(tmp_path / "binary.py"), "digest": "2" * 32},
        "a/folder": {"path": str(tmp_path), "digest": "3" * 32},
        "a/memory": {"path": ".", "digest": "tests.toys.Head"},
        "a/nothing": {},
    }
    keep_sources(run.path, found)
    assert kept(root) == {}
    assert [source_of(run.path, part) for part in found.values()] == [None] * len(found)


def test_a_digest_is_no_way_out_of_the_folder(make_run: MakeRun, root: Path, tmp_path: Path) -> None:
    run = make_run("flat")
    (root / "study" / "secret.py").write_text("X = 1\n")
    (root / "study" / ".sources").mkdir()
    assert source_of(run.path, {"digest": "../secret"}) is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(
    make_run: MakeRun, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, one = make_run("flat"), part(tmp_path / "one.py")
    (root / "study" / ".sources").write_text("a file where the folder should be")
    keep_sources(run.path, {"head/first": one})
    (root / "study" / ".sources").unlink()

    def refuse(path: Path, data: bytes) -> None:
        raise UserError(f"{path}: cannot be written")

    monkeypatch.setattr(sources, "write_bytes", refuse)
    keep_sources(run.path, {"head/first": one})
    assert kept(root) == {}
    assert source_of(run.path, one) == OLD  # its file still is what the run used


def test_the_file_itself_serves_while_it_has_the_digest(make_run: MakeRun, tmp_path: Path) -> None:
    run, one = make_run("flat"), part(tmp_path / "one.py")
    assert source_of(run.path, one) == source_of(None, one) == OLD
    (tmp_path / "one.py").write_text(NEW)
    assert source_of(run.path, one) is None
    assert source_of(Path("/"), one) is None
