"""The suite of adapters: a sound toy passes, broken ones are told what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from lllm.check.suite import Checker
from lllm.model import LatentModel
from lllm.registry import Part, Registry, register
from lllm.train.hooks import Hook, Moment
from tests.train.toys_training import LoRA, _Merging


def failures(registry: Registry, cls: type[Part]) -> dict[str, str]:
    known = registry.with_parts(cls)
    ((entry,),) = [known.find(f"adapter/{cls.__part__.name}")]  # type: ignore[attr-defined]
    return {failure.test: failure.message for failure in Checker(known).part(entry).failures}


@register("adapter", "toy_reinit")
class Reinitialises(LoRA):
    """Begins from another function, and says so."""

    preserves = False

    def attach(self, model: LatentModel, seed: int) -> None:
        super().attach(model, seed)
        with torch.no_grad():
            for held, _ in self.terms():
                held[0].up.fill_(0.1)


@register("adapter", "bad_function")
class Undeclared(Reinitialises):
    """Begins from another function."""

    preserves = True


@register("adapter", "bad_roles")
class Roleless(LoRA):
    """Makes parameters without roles."""

    def attach(self, model: LatentModel, seed: int) -> None:
        super().attach(model, seed)
        model.register_parameter("scale", torch.nn.Parameter(torch.ones(2, dtype=torch.float64)))


@register("adapter", "bad_vectors")
class TouchesVectors(LoRA):
    """Changes what is no matrix."""

    preserves = False

    def attach(self, model: LatentModel, seed: int) -> None:
        super().attach(model, seed)
        with torch.no_grad():
            model.first.mul_(2)


class _Forgetful(_Merging):
    def state(self) -> Mapping[str, Any]:
        return {"merges": 0}


@register("adapter", "bad_state")
class Forgets(LoRA):
    """Does not keep how often it merged, and so which rank it has."""

    def hooks(self) -> Sequence[Hook]:
        return [_Forgetful(self)]


class _Drift(Hook):
    """Changes a weight where it may only look."""

    name = "drift"

    def __init__(self, when: str) -> None:
        self.when = when

    def begin(self, model: LatentModel) -> None:
        self.model = model

    @torch.no_grad()
    def _drift(self, when: str) -> None:
        if when == self.when:
            self.model.first.add_(0.1)

    def after_evaluation(self) -> None:
        self._drift("evaluation")

    def after_save(self) -> None:
        self._drift("saving")

    def after_step(self, now: Moment) -> None:
        self._drift("step")


@register("adapter", "bad_evaluation")
class DriftsByEvaluation(LoRA):
    """Leaves other weights behind an evaluation."""

    def hooks(self) -> Sequence[Hook]:
        return [*super().hooks(), _Drift("evaluation")]


@register("adapter", "bad_saving")
class DriftsBySaving(LoRA):
    """Leaves other weights behind a checkpoint."""

    def hooks(self) -> Sequence[Hook]:
        return [*super().hooks(), _Drift("saving")]


@pytest.mark.parametrize("cls", [LoRA, Reinitialises])
def test_sound_adapters_pass(registry: Registry, cls: type[Part]) -> None:
    assert failures(registry, cls) == {}


@pytest.mark.parametrize(
    ("cls", "test", "message"),
    [
        (Undeclared, "function", "or preserves = False"),
        (Roleless, "roles", "has no role"),
        (TouchesVectors, "roles", "attach changes first, of role vector"),
        (Forgets, "state", "hooks restore structure in load_state"),
        (DriftsByEvaluation, "hooks", "an evaluation leaves other weights behind"),
        (DriftsBySaving, "hooks", "saving leaves other weights behind"),
    ],
)
def test_broken_adapters_are_told_what_is_wrong(registry: Registry, cls: type[Part], test: str, message: str) -> None:
    found = failures(registry, cls)
    assert message in found[test], found


def test_without_a_model_there_is_nothing_to_adapt() -> None:
    assert "nothing to adapt" in failures(Registry(), LoRA)["attach"]
