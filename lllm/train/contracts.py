"""Contracts of what trains a model: objective, optimizer, schedule, adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lllm.data.batches import Batch
from lllm.model.contracts import TrainOut
from lllm.model.latent import LatentModel
from lllm.model.roles import Role
from lllm.registry import Part
from lllm.train.hooks import Hook

__all__ = ["Adapter", "Named", "Objective", "Optimizer", "Schedule", "TorchOptimizer", "TrainingPart"]


class TrainingPart(Part, ABC):
    """What the kinds below, and any new one that derives from it, have in common: a run builds the one that its
    settings name, and runs its hooks. `build.part(kind)` is that same one."""

    section: ClassVar[str] = "train"

    def hooks(self) -> Sequence[Hook]:
        """What the part needs of the trainer beyond its contract."""
        return ()


class Objective(TrainingPart):
    """Nats -> weights. The trainer backpropagates sum(w * nats) and divides by the global sum(w) over ranks and
    micro-batches; auxiliary losses are averaged over the rows of the global batch.

    columns: names of the per-token columns it reads; data without them is refused.
    """

    kind: ClassVar[str] = "objective"
    columns: tuple[str, ...] = ()

    @abstractmethod
    def weights(self, out: TrainOut, batch: Batch, progress: float, last: Mapping[str, float]) -> Tensor:
        """Weights, without gradient, of the entries of out.slots [B, N, R], or of out.nats [B, N] where the loss is
        per chunk. `last`: global means of the previous step's statistics; it may add its own to out.statistics."""


class Schedule(TrainingPart):
    """Learning-rate factor as a function of progress, above 0 at the first and the last step of any run."""

    kind: ClassVar[str] = "schedule"

    @abstractmethod
    def factor(self, progress: float) -> float:
        """Factor in [0, 1] at `progress` in [0, 1]; those of steps: `lllm.train.hooks.progress_at`."""


@dataclass(frozen=True)
class Named:
    """One parameter with its path and role."""

    name: str
    tensor: nn.Parameter
    role: Role


class Optimizer(TrainingPart):
    """Steps parameters, routed by role, never by name or shape.

    default_lr: used where train.lr is not given. State is keyed by parameter name, so that adapters can reset it.
    """

    kind: ClassVar[str] = "optimizer"
    default_lr: ClassVar[float]

    @abstractmethod
    def attach(self, parameters: Sequence[Named]) -> None:
        """Take charge of parameters, with a fresh state; again where a hook has changed which ones there are."""

    @abstractmethod
    def step(self, lr: float) -> None:
        """One update at learning rate `lr`; each parameter's is scaled by its role's lr_mult."""

    @abstractmethod
    def reset(self, names: Iterable[str]) -> None:
        """Forget the state of these parameters, the step count of bias corrections included."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""


class TorchOptimizer(Optimizer):
    """An optimizer made of torch's own. A subclass gives `make`, which splits parameters among them."""

    def attach(self, parameters: Sequence[Named]) -> None:
        self.named = {p.name: p.tensor for p in parameters}
        self.mult = {id(p.tensor): p.role.lr_mult for p in parameters}
        self.parts = list(self.make(parameters))
        for part in self.parts:
            for group in part.param_groups:
                mults = {self.mult[id(p)] for p in group["params"]}
                if len(mults) != 1:
                    raise TypeError("parameters of one group have different lr_mult")
                group["lr_mult"] = mults.pop()

    @abstractmethod
    def make(self, parameters: Sequence[Named]) -> Iterable[torch.optim.Optimizer]:
        """Torch optimizers that together hold every parameter once; each group has one lr_mult (see `groups`)."""

    @staticmethod
    def groups(parameters: Iterable[Named], weight_decay: float) -> list[dict[str, Any]]:
        """Parameter groups by (decay, lr_mult): `weight_decay` for roles that decay (by default matrices and the
        unembedding, see `Role`), 0 for all others."""
        by: dict[tuple[float, float], list[nn.Parameter]] = {}
        for p in parameters:
            by.setdefault((weight_decay if p.role.decay else 0.0, p.role.lr_mult), []).append(p.tensor)
        return [{"params": params, "weight_decay": decay} for (decay, _), params in by.items()]

    def step(self, lr: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr * group["lr_mult"]
            part.step()

    def reset(self, names: Iterable[str]) -> None:
        for name in names:
            for part in self.parts:
                part.state.pop(self.named[name], None)

    def state(self) -> dict[str, Any]:
        names = {id(tensor): name for name, tensor in self.named.items()}
        return {names[id(p)]: dict(values) for part in self.parts for p, values in part.state.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        values = {id(self.named[name]): held for name, held in state.items()}
        for part in self.parts:
            parameters = [p for group in part.param_groups for p in group["params"]]
            part.state.clear()
            part.state.update({p: dict(values[id(p)]) for p in parameters if id(p) in values})


class Adapter(TrainingPart):
    """Reparametrises parameters of role matrix (LoRA, MoRA); its hooks merge and reset on a cycle.

    preserves: the model computes the same after `attach` as before.
    """

    kind: ClassVar[str] = "adapter"
    preserves: bool = True

    @abstractmethod
    def attach(self, model: LatentModel, seed: int) -> None:
        """Change the model in place, before the optimizer takes charge; new parameters carry roles and are filled."""
