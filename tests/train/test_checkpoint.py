"""Checkpoints come back as they were, or the one before does."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

import lllm
from lllm.errors import UserError
from lllm.train import checkpoint
from lllm.train.checkpoint import discard, load_newest, load_resumable, pack, save, unpack

ME, OTHER = "0" * 32 + "-s0", "1" * 32 + "-s0"

dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
tensors = st.builds(
    lambda shape, dtype, seed: (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    dtypes,
    st.integers(0, 99),
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | tensors
keys = st.text().filter(lambda key: not key.startswith("@"))
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return bool(left.dtype == right.dtype and left.shape == right.shape and left.tolist() == right.tolist())
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and math.isnan(left):
        return isinstance(right, float) and math.isnan(right)
    return type(left) is type(right) and left == right


@given(values)
@settings(max_examples=200, deadline=None)
def test_what_is_packed_is_unpacked(value: Any) -> None:
    held: dict[str, torch.Tensor] = {}
    skeleton = json.loads(json.dumps(pack(value, held), allow_nan=False))
    assert same(unpack(skeleton, held), value)


@given(st.dictionaries(keys, values, max_size=4))
@settings(max_examples=25, deadline=None)
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("saved")
    save(folder, 7, ME, state)
    found = load_resumable(folder, ME)
    assert found is not None
    assert found[0] == 7
    assert same(found[1], state)


def test_paths_that_read_the_same_are_two_tensors() -> None:
    held: dict[str, torch.Tensor] = {}
    value = {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}}
    assert same(unpack(pack(value, held), held), value)


def test_a_saved_tensor_is_a_copy(tmp_path: Path) -> None:
    x = torch.zeros(4)
    held: dict[str, torch.Tensor] = {}
    pack({"x": x, "view": x[1:3]}, held)
    x += 1
    assert all(not bool(tensor.any()) for tensor in held.values())
    save(tmp_path, 1, ME, {"x": x, "view": x[1:3], "transposed": torch.randn(3, 4).T})
    assert load_resumable(tmp_path, ME) is not None


@pytest.mark.parametrize("value", [{1: 2}, {"@tensor": "x"}, {"@x": 1}, object(), {"a": {3}}, b"raw"])
def test_what_cannot_be_held_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        pack(value, {})


def saved(folder: Path, *steps: int, identity: str = ME) -> None:
    for step in steps:
        save(folder, step, identity, {"x": torch.full((50,), step), "y": step / 3})


def test_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002", "00000010"]
    assert load_resumable(tmp_path, ME)[0] == 10  # type: ignore[index]


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flipped(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def rewritten(path: Path) -> None:
    path.write_bytes(b"[1, 2]")


@pytest.mark.parametrize("file", ["tensors.safetensors", "skeleton.json"])
@pytest.mark.parametrize("damage", [truncated, flipped, emptied, rewritten, Path.unlink])
def test_a_damaged_one_is_passed_over(tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    saved(tmp_path, 1, 2)
    damage(tmp_path / "00000002" / file)
    found = load_resumable(tmp_path, ME)
    assert found is not None
    assert found[0] == 1
    assert found[1]["x"].tolist() == [1] * 50
    damage(tmp_path / "00000001" / file)
    assert load_resumable(tmp_path, ME) is None
    saved(tmp_path, 2)
    assert load_resumable(tmp_path, ME)[0] == 2  # type: ignore[index]


def test_one_that_its_run_deletes_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run prunes its checkpoints while another process reads them: after the digest, before the tensors."""
    saved(tmp_path, 1, 2)
    verify = checkpoint.file_digest

    def pruned(path: Path) -> str:
        digest = verify(path)
        if path.parent.name == "00000002":
            shutil.rmtree(path.parent)
        return digest

    monkeypatch.setattr(checkpoint, "file_digest", pruned)
    assert load_resumable(tmp_path, ME)[0] == 1  # type: ignore[index]


def test_that_of_another_run_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1, identity=OTHER)
    with pytest.raises(UserError, match="checkpoint of another run"):
        load_resumable(tmp_path, ME)


def test_none_is_none(tmp_path: Path) -> None:
    assert load_resumable(tmp_path / "absent", ME) is None
    assert load_newest(tmp_path / "absent", ME) is None


def test_final_weights_lie_beside_what_is_resumed(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    save(tmp_path, 2, ME, {"x": "final"}, final=True)
    assert load_resumable(tmp_path, ME)[1]["y"] == 2 / 3  # type: ignore[index]
    assert load_newest(tmp_path, ME)[1]["x"] == "final"  # type: ignore[index]
    discard(tmp_path)
    assert load_resumable(tmp_path, ME) is None
    assert load_newest(tmp_path, ME)[1]["x"] == "final"  # type: ignore[index]


def test_unfinished_runs_have_newest_weights(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    assert load_newest(tmp_path, ME)[0] == 2  # type: ignore[index]


# --- what may happen while one is written ---------------------------------------------------------------------------


class Crash(BaseException):
    """As if the process had been killed: nothing may catch it."""


@pytest.mark.parametrize("place", ["save_file", "file_digest", "write_json", "_sync", "rename"])
def test_a_crash_between_writes_leaves_the_old(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 1)

    def crash(*arguments: Any, **options: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *a, **k: None)  # a killed process does not clean up
        if place == "rename":
            patch.setattr(Path, "rename", crash)
        else:
            patch.setattr(checkpoint, place, crash)
        with pytest.raises(Crash):
            saved(tmp_path, 2)
    assert load_resumable(tmp_path, ME)[0] == 1  # type: ignore[index]
    saved(tmp_path, 2)
    assert load_resumable(tmp_path, ME)[0] == 2  # type: ignore[index]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001", "00000002"]  # no scratch is left


def no_room(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_room_for_tensors(*arguments: Any, **options: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("place", "full"), [("save_file", no_room_for_tensors), ("save_file", no_room), ("write_json", no_room)]
)
def test_a_full_disk_leaves_the_old(tmp_path: Path, place: str, full: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, place, full)
        with pytest.raises(UserError, match="the disk is full"):
            saved(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    saved(tmp_path, 2)
    assert load_resumable(tmp_path, ME)[0] == 2  # type: ignore[index]


def test_other_errors_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def strange(*arguments: Any, **options: Any) -> None:
        raise SafetensorError("something odd")

    monkeypatch.setattr(checkpoint, "save_file", strange)
    with pytest.raises(UserError, match="something odd"):
        saved(tmp_path, 1)


# --- nothing untrusted is unpickled ---------------------------------------------------------------------------------


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("pickle")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    saved(tmp_path, 1)
    assert load_resumable(tmp_path, ME) is not None


def test_no_file_of_the_platform_or_the_catalogue_unpickles() -> None:
    package = Path(lllm.__file__).parent
    files = [*package.rglob("*.py"), *(package.parent / "registry").rglob("*.py")]
    assert len(files) > 50
    for path in files:
        text = path.read_text(encoding="utf-8")
        for word in ("torch.load(", "torch.save(", "import pickle", "from pickle", "allow_pickle=True", "joblib"):
            assert word not in text, f"{path}: {word}"
