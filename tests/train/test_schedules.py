"""Every registered schedule trains at every step of the shortest runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lllm.model.latent import LatentModel
from lllm.registry import Registry, load_registry
from lllm.train.hooks import Hook, Moment, progress_at
from tests.train.helpers import Rig, part

NAMES = sorted(load_registry().names("schedule"))


def test_a_step_stands_for_the_middle_of_what_it_covers() -> None:
    assert [progress_at(i, 4) for i in range(4)] == [0.125, 0.375, 0.625, 0.875]
    assert progress_at(0, 1) == 0.5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 1000, 10**7])
def test_the_first_and_the_last_factor_are_above_0(registry: Registry, name: str, steps: int) -> None:
    schedule = part(registry, "schedule", name)
    assert schedule.factor(progress_at(0, steps)) > 0
    assert schedule.factor(progress_at(steps - 1, steps)) > 0


class Watch(Hook):
    """What each step was told of progress, and whether it moved every matrix."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.moved: list[bool] = []

    def begin(self, model: LatentModel) -> None:
        self.matrices = [p for p in model.parameters() if p.dim() > 1]

    def before_step(self, now: Moment) -> None:
        self.progress.append(now.progress)
        self.before = [p.detach().clone() for p in self.matrices]

    def after_step(self, now: Moment) -> None:
        self.moved.append(not any(map(torch.equal, self.before, self.matrices)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_every_step_of_a_short_run_trains(registry: Registry, tmp_path: Path, name: str, steps: int) -> None:
    rig, watch = Rig(registry, tmp_path, schedule=name, steps=steps, log_every=1), Watch()
    watch.begin(rig.model)
    rig.trainer.hooks = [*rig.trainer.hooks, watch]
    rig.trainer.run()
    rates = [record["lr"] for record in rig.records if "lr" in record]
    assert rates == [rig.parts["schedule"].factor(at) * 3e-3 for at in watch.progress]
    assert min(rates) > 0
    assert watch.moved == [True] * steps
