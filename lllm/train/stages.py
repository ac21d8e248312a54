"""Stages: what a part must train before the run. Their result is kept by identity, so that other runs reuse it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lllm.data.batches import TrainBatches
from lllm.model.contracts import ModelPart, Stage
from lllm.model.latent import LatentModel
from lllm.model.noise import Noise
from lllm.results.files import explained, write_bytes
from lllm.train.trainer import Failed, Interrupted
from lllm.train.world import World

__all__ = ["Charged", "run_stages"]


@dataclass(frozen=True)
class Charged:
    """What the stages of a run cost, whether trained now or reused: training FLOPs and source tokens."""

    flops: float = 0.0
    tokens: int = 0
    names: tuple[str, ...] = ()


def run_stages(
    model: LatentModel,
    batches: TrainBatches,
    *,
    seed: int,
    data: str,
    root: Path,
    world: World,
    stop: Callable[[], bool] = lambda: False,
) -> Charged:
    """Train or load every stage of the model's parts and freeze what they trained. root: where results are kept. A
    stage is trained in one piece: one that is interrupted begins again.

    Raises:
        Failed: a stage's gate refuses what was trained. Interrupted: `stop` said so.
    """
    flops, tokens, names = 0.0, 0, []
    parts = [(path, part) for path, part in model.named_modules() if isinstance(part, ModelPart)]
    stages = ((path, part, stage) for path, part in parts for stage in part.stages())
    for path, part, stage in stages:
        named = _parameters(part, stage)
        source = sorted(entry.digest for entry in model.used.values() if entry.cls is type(part))
        rows = [data, seed, batches.size, batches.rows.context, batches.multiple]
        file = root / f"{stage.name}-{_key(stage, source, named, rows)}.safetensors"
        # The first process decides: one that looks a moment later may find what another run has just written.
        if not world.agree(float(world.first and _load(file, named))):
            _train(stage, list(named.values()), batches, seed, world, stop)
            if world.first:
                _keep(file, named)
        world.share_(list(named.values()))
        reason = stage.gate(batches.at(stage.steps).to(world.device))
        if reason is not None:
            raise Failed(f"stage '{stage.name}' of {path or 'the model'}: {reason}")
        for tensor in named.values():
            tensor.requires_grad_(False)
        used = stage.steps * batches.size * batches.rows.context
        flops, tokens = flops + stage.flops * used, tokens + used
        names.append(stage.name)
    return Charged(flops, tokens, tuple(names))


def _key(stage: Stage, source: list[str], named: dict[str, nn.Parameter], rows: list[Any]) -> str:
    """Identity of a stage's result: its own configuration, the source of its part, sizes, data and seed."""
    shapes = {name: list(tensor.shape) for name, tensor in named.items()}
    key = [stage.name, stage.steps, stage.lr, dict(stage.identity), source, shapes, rows]
    return hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()


def _parameters(part: nn.Module, stage: Stage) -> dict[str, nn.Parameter]:
    """The part's parameters at or below the stage's paths."""
    paths = stage.parameters
    found = {n: p for n, p in part.named_parameters() if any(n == one or n.startswith(f"{one}.") for one in paths)}
    if not found:
        raise TypeError(f"stage '{stage.name}' names no parameter of {type(part).__name__}")
    return found


def _train(
    stage: Stage,
    parameters: list[nn.Parameter],
    batches: TrainBatches,
    seed: int,
    world: World,
    stop: Callable[[], bool],
) -> None:
    """AdamW at a constant rate; gradients are means over the rows of the global batch."""
    optimizer = torch.optim.AdamW(parameters, lr=stage.lr)
    share = world.share(batches.size)
    for step in range(stage.steps):
        batch = batches.at(step, share).to(world.device)
        total = stage.loss(batch, Noise(seed, step)).sum()
        gradients = torch.autograd.grad(total, parameters, materialize_grads=True)
        world.sum_(gradients)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient / batches.size
        optimizer.step()
        if world.agree(float(world.first and stop())):
            raise Interrupted(f"stopped in stage '{stage.name}', after step {step + 1} of {stage.steps}")
    for parameter in parameters:
        parameter.grad = None


def _keep(file: Path, named: dict[str, nn.Parameter]) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    with explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, save(tensors, metadata={"digest": _digest(tensors)}))


@torch.no_grad()
def _load(file: Path, named: dict[str, nn.Parameter]) -> bool:
    """Fill the parameters from what was kept; False when there is nothing whole."""
    try:
        with safe_open(file, "pt") as kept:
            found = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 - not a mapping
            digest = (kept.metadata() or {}).get("digest")
    except (OSError, SafetensorError):
        return False
    if digest != _digest(found) or set(found) != set(named):
        return False
    for name, tensor in found.items():
        named[name].copy_(tensor)
    return True


def _digest(tensors: dict[str, Tensor]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        state.update(name.encode() + tensors[name].view(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
