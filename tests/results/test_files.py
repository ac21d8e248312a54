"""Nothing is ever half written, and what stands in the way is said in a sentence."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lllm.errors import UserError
from lllm.results.files import Metrics, read_json, read_metrics, write_json

CRASH = """
import os, signal, sys
from pathlib import Path
from lllm.results import files
os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL)
files.write_json(Path(sys.argv[1]), {"new": 1})
"""


def test_a_crash_between_write_and_rename_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"old": 1})
    done = subprocess.run([sys.executable, "-c", CRASH, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_json(path) == {"old": 1}
    assert len(list(tmp_path.glob(".run.json.*.tmp"))) == 1  # it did get as far as that
    write_json(path, {"new": 2})
    assert read_json(path) == {"new": 2}


def test_what_cannot_be_serialised_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_numbers_that_are_none_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"loss": float("nan"), "rows": [float("inf"), 1.5]})
    assert read_json(tmp_path / "a.json") == {"loss": None, "rows": [None, 1.5]}


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "cannot be written"), (errno.EROFS, "cannot be written")],
)
def test_a_full_disk_and_a_locked_folder_are_user_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"old": 1})

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=said):
        write_json(path, {"new": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert json.loads(path.read_text()) == {"old": 1}


def test_reading_says_which_file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json: not JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b\.json: cannot be read"):
        read_json(tmp_path / "b.json")


def test_metrics_append_and_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Metrics(path) as lines:
        lines.append({"step": 1})
        size = lines.size
        lines.append({"step": 2})
        assert size < lines.size == path.stat().st_size
        lines.truncate(size)
        lines.append({"step": 3})
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


@pytest.mark.parametrize("torn", ['{"step": 2', '{"step": 2}', "x" * 10_000])
def test_a_torn_line_is_not_read_and_not_built_upon(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + torn)
    assert read_metrics(path) == [{"step": 1}]
    with Metrics(path) as lines:
        lines.append({"step": 3})
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


def test_truncating_inside_a_line_drops_it(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m") as lines:
        lines.append({"step": 1})
        size = lines.size
        lines.append({"step": 2})
        lines.truncate(size + 3)
        assert lines.size == size


def test_a_file_shorter_than_its_checkpoint_says_so(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m") as lines, pytest.raises(UserError, match="lines are missing"):
        lines.truncate(1)


def test_a_line_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) - 5])

    with Metrics(tmp_path / "m") as lines:
        lines.append({"step": 1})
        before = lines.size
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(UserError, match="the disk is full"):
            lines.append({"step": 2, "loss": 1.2345})
        assert lines.size == before


def test_damage_in_the_middle_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 2: not a JSON object"):
        read_metrics(tmp_path / "m")
    assert read_metrics(tmp_path / "absent") == []
