"""What a part trains first is trained once, kept by identity, checked, frozen and charged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lllm.model import LatentModel
from lllm.registry import Registry
from lllm.train import stages
from lllm.train.stages import Charged, run_stages
from lllm.train.trainer import Failed, Interrupted
from lllm.train.world import World
from tests.train.helpers import CONTEXT, Rig, batches, model, shard, toys

DATA = "d" * 32


def run(
    registry: Registry,
    root: Path,
    *,
    seed: int = 0,
    data: str = DATA,
    size: int = 6,
    nodes: dict[str, Any] | None = None,
    stop: Any = lambda: False,
    **config: Any,
) -> tuple[LatentModel, Charged]:
    registry = toys(registry)
    node = {"use": "toy_autoencoder", **config}
    built = model(registry, double=False, seed=seed, downsampler=node, **(nodes or {}))
    rows = batches(shard(registry), size=size, seed=seed)
    return built, run_stages(built, rows, seed=seed, data=data, root=root, world=World(), stop=stop)


def stage_of(built: LatentModel) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in built.downsampler.named_parameters()}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each stage that was trained, not reused."""
    times: list[int] = []
    original = stages._train

    def counted(*arguments: Any) -> None:
        times.append(1)
        original(*arguments)

    monkeypatch.setattr(stages, "_train", counted)
    return times


def test_it_is_trained_frozen_and_charged(registry: Registry, tmp_path: Path) -> None:
    fresh = stage_of(model(toys(registry), double=False, downsampler="toy_autoencoder"))
    built, charged = run(registry, tmp_path)
    after = stage_of(built)
    assert all(not torch.equal(fresh[name], after[name]) for name in fresh)
    assert all(not p.requires_grad for p in built.downsampler.parameters())
    assert all(p.requires_grad for p in built.trunk.parameters())
    part: Any = built.downsampler
    (stage,) = part.stages()
    assert charged == Charged(stage.flops * 20 * 6 * CONTEXT, 20 * 6 * CONTEXT, ("autoencoder",))
    assert charged.flops > 0


def test_another_run_with_the_same_identity_reuses_it_and_pays(
    registry: Registry, tmp_path: Path, trained: list[int]
) -> None:
    built, charged = run(registry, tmp_path)
    again, paid = run(registry, tmp_path, nodes={"head": "parallel"})  # another model around the same part
    assert trained == [1]
    assert paid == charged
    left, right = stage_of(built), stage_of(again)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"data": "e" * 32}, {"size": 4}, {"steps": 21}, {"lr": 0.02}, {"nodes": {"ratio": 2}}]
)
def test_whatever_defines_it_makes_another(
    registry: Registry, tmp_path: Path, trained: list[int], other: dict[str, Any]
) -> None:
    run(registry, tmp_path)
    run(registry, tmp_path, **other)
    assert trained == [1, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_an_edited_part_makes_another(registry: Registry, tmp_path: Path, trained: list[int]) -> None:
    run(registry, tmp_path)
    registry = toys(registry)
    key = ("downsampler", "toy_autoencoder")
    built = model(registry, double=False, downsampler="toy_autoencoder")
    built.used[key] = type(built.used[key])(**{**vars(built.used[key]), "digest": "edited"})
    run_stages(built, batches(shard(registry)), seed=0, data=DATA, root=tmp_path, world=World())
    assert trained == [1, 1]


def test_the_gate_refuses_even_what_is_reused(registry: Registry, tmp_path: Path, trained: list[int]) -> None:
    for _ in range(2):
        with pytest.raises(Failed, match=r"stage 'autoencoder' of downsampler: .* expected less than 0.1"):
            run(registry, tmp_path, worst=0.1)
    assert trained == [1]


@pytest.mark.parametrize("place", [8, -1, 400])
def test_a_damaged_result_is_trained_anew(registry: Registry, tmp_path: Path, trained: list[int], place: int) -> None:
    built, _ = run(registry, tmp_path)
    (file,) = tmp_path.iterdir()
    raw = bytearray(file.read_bytes())
    raw[place] ^= 16
    file.write_bytes(raw)
    again, _ = run(registry, tmp_path)
    assert trained == [1, 1]
    left, right = stage_of(built), stage_of(again)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_it_can_be_stopped(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="stopped in stage 'autoencoder', after step 1 of 20"):
        run(registry, tmp_path, stop=lambda: True)
    assert not list(tmp_path.iterdir())


def test_the_run_leaves_it_alone(registry: Registry, tmp_path: Path) -> None:
    rig = Rig(registry, tmp_path / "run", nodes={"downsampler": "toy_autoencoder"}, steps=3)
    run_stages(rig.model, rig.trainer.batches, seed=0, data=DATA, root=tmp_path / "kept", world=World())
    rig.trainer._attach()
    before = stage_of(rig.model)
    rig.trainer.run()
    after = stage_of(rig.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not [name for name in rig.optimizer.state() if name.startswith("downsampler.")]
