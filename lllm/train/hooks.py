"""Hooks: how a part gets something unusual from the one trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.latent import LatentModel

__all__ = ["Hook", "Moment", "progress_at"]


def progress_at(step: int, steps: int) -> float:
    """Training progress of `step` (from 0) of `steps`: the middle of what the step covers, in (0, 1). At either end a
    schedule that begins or ends with 0 would make a step that trains nothing; scoring and generation are at 1."""
    return (step + 0.5) / steps


@dataclass
class Moment:
    """What a hook may see and do at a step.

    step, steps: this one (from 0) and how many there are; seed of the run. model: without wrappers.
    batch: this rank's rows of the global batch. extra_backward(weights=None, rows=None) runs, over the micro-batches
    of the step and all ranks, a backward pass of the sum of nats under sampled labels and returns (gradient by
    parameter name, already divided by the global number of scored tokens; that number); the training gradients are
    untouched. weights: a function from the objective's weights to those of the drawn nats; the number is then the sum
    of their squares (torch.sqrt: see `Gradients.on_sampled_labels`). rows: of the global batch, its first so many.
    Every rank must call it, with the same arguments, or none. reset(names): forget the optimizer's state of these
    parameters. rebuilt(): the model's parameters are not those that they were; the optimizer takes charge of them anew
    and keeps the state of every one that has its name and shape still. metrics: numbers to log, averaged over the steps
    that give them.
    """

    step: int
    steps: int
    seed: int
    model: LatentModel
    batch: Batch
    extra_backward: Callable[..., tuple[dict[str, Tensor], float]]
    reset: Callable[[list[str]], None]
    rebuilt: Callable[[], None]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """See `progress_at`."""
        return progress_at(self.step, self.steps)


class Hook:
    """Everything does nothing; a subclass overrides what it needs. `name` keys its state in the checkpoint.

    Order: `begin`, once; where the run resumes, every hook's `load_state` before model and optimizer tensors load, so
    that it can rebuild their structure, and `after_load` after them; then the steps. A run that resumes at its end
    sees no step.
    """

    name: str = "hook"

    def begin(self, model: LatentModel) -> None:
        """The model that will be trained, as built, before the optimizer takes charge of its parameters."""

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

    def before_save(self) -> None:
        """Before a checkpoint from which the run may go on is written, in every process. Whatever is done here to
        weights or states is in the checkpoint and must be undone by `after_save`: when one is written depends on the
        clock, and what is trained may not."""

    def after_save(self) -> None:
        """After it, whether it could be written or not."""

    def state(self) -> Mapping[str, Any]:
        """What a checkpoint must keep: tensors, numbers, strings, lists and dicts of them."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""

    def after_load(self) -> None:
        """After model and optimizer tensors have been loaded."""
