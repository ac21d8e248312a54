"""Hooks: how a part gets something unusual from the one trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.latent import LatentModel

__all__ = ["Hook", "Moment"]


@dataclass
class Moment:
    """What a hook may see and do at a step.

    step, steps: this one (from 0) and how many there are; seed of the run. model: without wrappers.
    batch: this rank's rows of the global batch. extra_backward(draw) runs, over the micro-batches of the step and all
    ranks, a backward pass of the sum of nats under sampled labels and returns (gradient by parameter name, already
    divided by the global number of scored tokens; that number); the training gradients are untouched.
    reset(names): forget the optimizer's state of these parameters. metrics: numbers to log.
    """

    step: int
    steps: int
    seed: int
    model: LatentModel
    batch: Batch
    extra_backward: Callable[[], tuple[dict[str, Tensor], float]]
    reset: Callable[[list[str]], None]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """Training progress in [0, 1]."""
        return self.step / self.steps


class Hook:
    """Everything does nothing; a subclass overrides what it needs. `name` keys its state in the checkpoint.

    Order of loading: every hook's `load_state` runs before model and optimizer tensors load, so that it can rebuild
    their structure; `after_load` runs after them.
    """

    name: str = "hook"

    def before_step(self, now: Moment) -> None:
        """Before the forward pass of a step."""

    def before_update(self, now: Moment) -> None:
        """Gradients are complete, global and not yet clipped; the optimizer has not stepped."""

    def after_step(self, now: Moment) -> None:
        """After the optimizer's step."""

    def before_evaluation(self) -> None:
        """Before evaluation or the final save: a hook may swap other weights in (an average of past ones)."""

    def after_evaluation(self) -> None:
        """After it: the training weights are back, bit for bit."""

    def state(self) -> Mapping[str, Any]:
        """What a checkpoint must keep: tensors, numbers, strings, lists and dicts of them."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""

    def after_load(self) -> None:
        """After model and optimizer tensors have been loaded."""
