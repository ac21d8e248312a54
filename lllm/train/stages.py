"""Stages: what a part must train before the run. Their result is kept by identity, so that other runs reuse it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lllm.data.batches import TrainBatches
from lllm.model.contracts import ModelPart, Stage
from lllm.model.latent import LatentModel
from lllm.model.noise import Noise
from lllm.train.trainer import Failed
from lllm.train.world import World

__all__ = ["Charged", "run_stages"]


@dataclass(frozen=True)
class Charged:
    """What the stages of a run cost, whether trained now or reused: training FLOPs and source tokens."""

    flops: float = 0.0
    tokens: int = 0
    names: tuple[str, ...] = ()


def run_stages(model: LatentModel, batches: TrainBatches, *, seed: int, data: str, root: Path, world: World) -> Charged:
    """Train or load every stage of the model's parts and freeze what they trained. root: where results are kept.

    Raises:
        Failed: a stage's gate refuses what was trained.
    """
    flops, tokens, names = 0.0, 0, []
    for path, part, stage in _stages(model):
        named = {name: part.get_parameter(name) for name in _expanded(part, stage)}
        key = json.dumps(
            [stage.name, stage.steps, stage.lr, dict(stage.identity), data, seed, batches.size], sort_keys=True
        )
        file = root / f"{stage.name}-{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}.safetensors"
        if file.is_file():
            for name, tensor in load_file(file, device=str(world.device)).items():
                named[name].data.copy_(tensor)
        else:
            _train(stage, list(named.values()), batches, seed, world)
            if world.first:
                _keep(file, named)
        reason = stage.gate(batches.at(stage.steps).to(world.device))
        if reason is not None:
            raise Failed(f"stage '{stage.name}' of {path or 'the model'}: {reason}")
        for tensor in named.values():
            tensor.requires_grad_(False)
        used = stage.steps * batches.size * batches.rows.context
        flops, tokens = flops + stage.flops * used, tokens + used
        names.append(stage.name)
    return Charged(flops, tokens, tuple(names))


def _stages(model: LatentModel) -> Iterator[tuple[str, nn.Module, Stage]]:
    for path, module in model.named_modules():
        if isinstance(module, ModelPart):
            for stage in module.stages():
                yield path, module, stage


def _expanded(part: nn.Module, stage: Stage) -> list[str]:
    """Names of the part's parameters at or below the stage's paths."""
    found = [n for n, _ in part.named_parameters() if any(n == p or n.startswith(f"{p}.") for p in stage.parameters)]
    if not found:
        raise TypeError(f"stage '{stage.name}' names no parameter of {type(part).__name__}")
    return found


def _train(stage: Stage, parameters: list[Any], batches: TrainBatches, seed: int, world: World) -> None:
    """AdamW at a constant rate; gradients are means over the rows of the global batch."""
    optimizer = torch.optim.AdamW(parameters, lr=stage.lr)
    share = world.share(batches.size)
    for step in range(stage.steps):
        batch = batches.at(step, share).to(world.device)
        total = stage.loss(batch, Noise(seed, step)).sum()
        pieces = torch.autograd.grad(total, parameters, allow_unused=True)
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad = torch.zeros_like(parameter) if piece is None else piece
        world.sum_([p.grad for p in parameters])
        for parameter in parameters:
            parameter.grad /= batches.size
        optimizer.step()
    for parameter in parameters:
        parameter.grad = None


def _keep(file: Path, named: dict[str, nn.Parameter]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".tmp")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}, scratch)
    scratch.rename(file)
