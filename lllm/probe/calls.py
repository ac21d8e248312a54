"""How evaluation and training call a model, so that the probe calls it alike."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lllm.data.batches import Batch
from lllm.model.contracts import Hidden, Likelihood, TrainOut
from lllm.model.latent import LatentModel
from lllm.model.noise import Noise

__all__ = ["Calls", "Scored", "entries", "left_to_right", "mode", "restored"]


Scored = tuple[Hidden, Mapping[str, Likelihood]]
"""What a head reads of a batch, and its likelihoods."""


@dataclass(frozen=True)
class Calls:
    """model: of the run. forward: of training, compiled or not. autocast: the precision of evaluation and training.
    progress: of training, at which the weights are. last: batch statistics of the latest training step. step, seed:
    which key the noise of training. hooks: what of the run's parts stands outside the model."""

    model: LatentModel
    forward: Callable[..., TrainOut]
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    progress: float = 1.0
    last: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    seed: int = 0
    hooks: Sequence[object] = ()

    def score(self, rows: Batch) -> Scored:
        """As evaluation scores a batch."""
        with torch.no_grad(), mode(self.model, train=False), self.autocast():
            return self.model.score(rows, progress=self.progress, last=self.last)

    def train(self, rows: Batch) -> TrainOut:
        """As training calls its forward pass, under autograd."""
        with self._training():
            return self.forward(rows, progress=self.progress, step=self.step, seed=self.seed, last=dict(self.last))

    def train_hidden(self, rows: Batch) -> Hidden:
        """What the head reads in training, under autograd."""
        with self._training():
            noise = Noise(self.seed, self.step)
            ctx = self.model.context(rows, noise, self.progress, train=True, last=dict(self.last))
            return self.model.hidden(rows.tokens, rows.ok, ctx.prefix, ctx)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """A part that draws from the global generator draws alike in every call: such noise is no future token."""
        torch.manual_seed(self.seed)
        with torch.enable_grad(), mode(self.model, train=True), self.autocast():
            yield


@contextmanager
def mode(model: LatentModel, *, train: bool) -> Iterator[None]:
    """The model in training or evaluation mode."""
    was_training = model.training
    model.train(train)
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def restored(calls: Calls) -> Iterator[None]:
    """What a forward pass may leave behind is put back: parameters, buffers and attributes of modules and hooks, and
    the state of every generator."""
    owners = [(owner, dict(vars(owner))) for owner in (*calls.model.modules(), *calls.hooks)]
    values = [value for _, attributes in owners for value in attributes.values()]
    containers = [(value, copy.copy(value)) for value in values if isinstance(value, dict | list | set)]
    tensors = [*calls.model.parameters(), *calls.model.buffers(), *(v for v in values if isinstance(v, Tensor))]
    kept = [(tensor, tensor.detach().clone()) for tensor in {id(tensor): tensor for tensor in tensors}.values()]
    python, numpy = random.getstate(), np.random.get_state()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for held, before in containers:
            held.clear()
            held.extend(before) if isinstance(held, list) else held.update(before)
        for owner, attributes in owners:
            vars(owner).clear()
            vars(owner).update(attributes)
        with torch.no_grad():
            for tensor, was in kept:
                if not torch.equal(tensor, was):
                    tensor.copy_(was)


def left_to_right(model: LatentModel) -> bool:
    """Whether the head draws the slots of a chunk in their order, each by its exact conditional given those before
    it: only then is what it says of the next token the factor of its likelihood."""
    head = model.head
    return (
        head.categorical
        and head.prefix_conditional == "exact"
        and all(list(head.plan(known)) == list(range(known, head.ratio)) for known in range(head.ratio))
    )


def entries(likelihood: Likelihood | TrainOut) -> Tensor:
    """Nats of the smallest units that a likelihood tells apart: [B, N, R] tokens, or [B, N] chunks."""
    return likelihood.nats if likelihood.slots is None else likelihood.slots
