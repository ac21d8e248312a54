"""Toy training parts that need something unusual of the trainer. They live in the tests only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lllm.data.batches import Batch
from lllm.model import LatentModel
from lllm.model.contracts import TrainOut
from lllm.model.noise import stream
from lllm.model.roles import Role, named_roles, parameter
from lllm.registry import PartConfig, register
from lllm.train.contracts import Adapter, Named, Objective, Optimizer, TorchOptimizer
from lllm.train.hooks import Hook, Moment


@register("objective", "toy_select")
class Select(Objective):
    """Keeps the tokens that cost more than the previous step's global mean: the worse part of them (RHO-like)."""

    class Config(PartConfig):
        """keep: 1 keeps every token, 2 those above the mean, 3 none at all."""

        keep: int = 2

    config: Config

    def weights(self, out: TrainOut, batch: Batch, progress: float, last: Mapping[str, float]) -> Tensor:
        assert out.slots is not None
        weight = out.ok.to(out.nats.dtype)
        out.statistics["nats"] = (out.slots.detach() * out.ok).flatten(1).sum(1)
        out.statistics["tokens"] = out.ok.flatten(1).sum(1)
        if self.config.keep == 3:
            return 0 * weight
        if self.config.keep == 1 or "tokens" not in last:
            return weight
        return weight * (out.slots.detach() > last["nats"] / last["tokens"])


class _Curvature(Hook):
    """Asks for the extra backward pass every few steps."""

    name = "toy_gnb"

    def __init__(self, owner: GaussNewtonBartlett) -> None:
        self.owner = owner

    def before_update(self, now: Moment) -> None:
        if now.step % self.owner.config.every == 0:
            gradients, tokens = now.extra_backward()
            for name, gradient in gradients.items():
                held = self.owner.held.setdefault(name, {})
                new = tokens * gradient.square()
                held["h"] = new if "h" not in held else 0.9 * held["h"] + 0.1 * new
            now.metrics["curvature"] = float(sum(g.square().sum() for g in gradients.values())) * tokens


@register("optimizer", "toy_gnb", refs=["arXiv:2305.14342"])
class GaussNewtonBartlett(Optimizer):
    """Sophia-like: a momentum divided by the curvature that labels drawn from the model itself show, and clipped."""

    class Config(PartConfig):
        """every: steps between two looks at the curvature."""

        every: int = 3

    config: Config
    default_lr = 1e-2

    def hooks(self) -> Sequence[Hook]:
        return [_Curvature(self)]

    def attach(self, parameters: Sequence[Named]) -> None:
        self.named = {p.name: p for p in parameters}
        self.held: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for name, p in self.named.items():
            if p.tensor.grad is not None:
                held = self.held.setdefault(name, {})
                old = held.get("m", torch.zeros_like(p.tensor))
                held["m"] = 0.9 * old + 0.1 * p.tensor.grad
                size = held["h"].clamp(min=1e-3) if "h" in held else torch.ones_like(p.tensor)
                p.tensor.sub_(lr * p.role.lr_mult * (held["m"] / size).clamp(-1, 1))

    def reset(self, names: Iterable[str]) -> None:
        for name in names:
            self.held.pop(name, None)

    def state(self) -> dict[str, Any]:
        return {name: dict(held) for name, held in self.held.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.held = {name: dict(held) for name, held in state.items()}


class _Averaging(Hook):
    """Evaluates an average of past weights."""

    name = "toy_average"

    def __init__(self) -> None:
        self.average: dict[str, Tensor] = {}

    def begin(self, model: LatentModel) -> None:
        self.model = model

    @torch.no_grad()
    def after_step(self, now: Moment) -> None:
        for name, p in self.model.named_parameters():
            old = self.average.get(name)
            self.average[name] = p.detach().clone() if old is None else old.lerp(p, 0.2)

    def before_evaluation(self) -> None:
        self.kept = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._put(self.average)

    def after_evaluation(self) -> None:
        self._put(self.kept)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, p in self.model.named_parameters():
            p.copy_(values[name])

    def state(self) -> Mapping[str, Any]:
        return {"average": self.average}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.average = dict(state["average"])


@register("optimizer", "toy_averaged")
class Averaged(TorchOptimizer):
    """Plain SGD whose average is what is evaluated."""

    default_lr = 0.1

    def hooks(self) -> Sequence[Hook]:
        return [_Averaging()]

    def make(self, parameters: Sequence[Named]) -> Iterable[torch.optim.Optimizer]:
        yield torch.optim.SGD(self.groups(parameters, 0.0), lr=self.default_lr, momentum=0.9)


class LowRank(nn.Module):
    """W -> W + up down."""

    def __init__(self, shape: Sequence[int], rank: int) -> None:
        super().__init__()
        self.down = parameter(rank, shape[1], role=Role("matrix", std=shape[1] ** -0.5))
        self.up = parameter(shape[0], rank, role=Role("matrix", decay=False))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


class _Merging(Hook):
    """Merges on a cycle; every second cycle has another rank, so that there are other parameters."""

    name = "toy_lora"

    def __init__(self, owner: LoRA) -> None:
        self.owner, self.merges = owner, 0

    def after_step(self, now: Moment) -> None:
        if (now.step + 1) % self.owner.config.cycle == 0:
            self.merges += 1
            self.owner.merge()
            now.reset(self.owner.draw(self.merges))
            now.rebuilt()
            now.metrics["merges"] = float(self.merges)

    def state(self) -> Mapping[str, Any]:
        return {"merges": self.merges}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.merges = int(state["merges"])
        self.owner.draw(self.merges)


@register("adapter", "toy_lora", refs=["arXiv:2106.09685", "arXiv:2307.05695"])
class LoRA(Adapter):
    """Every matrix is frozen but for a low-rank term, which is merged and drawn anew on a cycle (ReLoRA)."""

    class Config(PartConfig):
        """cycle: steps between two merges. rank: of every second cycle, beginning with the first; others have one
        more."""

        cycle: int = 4
        rank: int = 1

    config: Config

    def hooks(self) -> Sequence[Hook]:
        return [_Merging(self)]

    def attach(self, model: LatentModel, seed: int) -> None:
        self.model, self.seed = model, seed
        matrices = [(n, p) for n, p, role in named_roles(model) if role.kind == "matrix" and p.dim() == 2]
        self.places: list[tuple[nn.Module, str]] = []
        for path, tensor in matrices:
            owner, _, name = path.rpartition(".")
            module = model.get_submodule(owner)
            tensor.requires_grad_(False)
            parametrize.register_parametrization(module, name, LowRank(tensor.shape, self.config.rank).to(tensor))
            self.places.append((module, name))
        self.draw(0)

    def terms(self) -> list[tuple[Any, Any]]:
        """(list of what reparametrises a matrix, the matrix itself)."""
        owners: list[tuple[Any, str]] = list(self.places)
        lists = [module.parametrizations[name] for module, name in owners]
        return [(held, held.original) for held in lists]

    @torch.no_grad()
    def merge(self) -> None:
        """Add the low-rank terms to the frozen matrices."""
        for held, original in self.terms():
            original.copy_(held[0](original))

    @torch.no_grad()
    def draw(self, merges: int) -> list[str]:
        """Fresh low-rank terms after so many merges; their names, those that were and those that are."""
        names = set(self.names())
        for held, original in self.terms():
            held[0] = LowRank(original.shape, self.config.rank + merges % 2).to(original)
        for name, tensor, role in named_roles(self.model):
            if name in self.names():
                drawn = torch.randn(tensor.shape, generator=stream(self.seed, "init", name, merges))
                tensor.copy_(drawn * role.std)
        return sorted(names | set(self.names()))

    def names(self) -> list[str]:
        """Paths of the low-rank terms."""
        return [n for n, _ in self.model.named_parameters() if "parametrizations" in n and "original" not in n]
