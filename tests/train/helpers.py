"""Tiny models, ragged rows and whole trainers for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lllm.data import Document, Shard
from lllm.data.batches import Batch, TrainBatches, valid_batches
from lllm.data.prepare import shard_of
from lllm.model import LatentModel, compose
from lllm.model.noise import initialise
from lllm.registry import Build, Part, Registry
from lllm.results.files import WALL_FIELDS, Metrics, read_metrics
from lllm.train.contracts import Objective, Optimizer
from lllm.train.gradients import Gradients, StepTotals
from lllm.train.setup import hooks_of
from lllm.train.trainer import Settings, Trainer
from lllm.train.trainer import weights as weights_of
from lllm.train.world import World
from tests.helpers import composition
from tests.train import toys_model, toys_training

CONTEXT, MULTIPLE = 32, 8
_WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "that", "it", "was", "not", "as", "good", "\n")


def toys(registry: Registry) -> Registry:
    """The registry with the toy parts of these tests."""
    parts: list[type[Part]] = [toys_model.SteeredFFN, toys_model.ChunkHead, toys_model.AutoencoderDownsampler]
    training: list[type[Part]] = [
        toys_training.Select,
        toys_training.GaussNewtonBartlett,
        toys_training.Averaged,
        toys_training.LoRA,
    ]
    return registry.with_parts(*parts, *training)


def texts(count: int, seed: int = 0) -> list[bytes]:
    """Documents of 5 to 90 bytes."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(_WORDS, int(random.integers(2, 24)))).encode()[:90] for _ in range(count)]


def shard(registry: Registry, *, count: int = 24, seed: int = 0, marked: bool = False) -> Shard:
    """Documents as a shard; `marked`: with a weight for every byte, and spans that are not scored."""
    documents = []
    for i, raw in enumerate(texts(count, seed)):
        if marked:
            weight = np.random.default_rng(i).random(len(raw)).astype(np.float32)
            documents.append(Document(raw, unscored=[(0, i % 5)] if i % 5 else [], columns={"weight": weight}))
        else:
            documents.append(Document(raw))
    return shard_of(documents, tokenizer(registry), MULTIPLE)


def tokenizer(registry: Registry) -> Any:
    return part(registry, "tokenizer", "byte")


def model(registry: Registry, *, ratio: int = 4, double: bool = True, seed: int = 0, **nodes: Any) -> LatentModel:
    """Width 16, one layer, in float64 unless told otherwise."""
    bytes_ = tokenizer(registry)
    nodes = {"trunk": {"use": "uniform", "depth": 1}, "head": {"use": "local_ar", "depth": 1}, **nodes}
    choice = composition(registry, ratio=ratio, width=16, vocab=bytes_.vocab, illegal=bytes_.illegal, **nodes)
    built = compose(registry, choice, seed=seed, dtype=torch.float64 if double else None)
    if double:  # drawn in float32, as ever, so that both precisions start alike
        initialise(built, seed)
    return built


def batches(data: Shard, *, size: int = 6, seed: int = 0, pad: int = 258) -> TrainBatches:
    return TrainBatches([data], context=CONTEXT, size=size, multiple=MULTIPLE, pad=pad, seed=seed)


def part(registry: Registry, kind: str, node: Any) -> Any:
    """The part outside the model that a node names."""
    return Build(registry, {}).part(kind, node)


def bytes_per_token(registry: Registry) -> Tensor:
    return torch.from_numpy(np.asarray(tokenizer(registry).bytes_per_token, dtype=np.int64))


def gradients_of(
    registry: Registry,
    built: LatentModel,
    batch: Batch,
    *,
    micro: int | None = None,
    world: World | None = None,
    objective: Any = "cross_entropy",
    last: Mapping[str, float] | None = None,
) -> tuple[dict[str, Tensor], StepTotals]:
    """Gradient by name, and the totals."""
    rule: Objective = part(registry, "objective", objective)
    run = Gradients(built, rule, world or World(), bytes_per_token(registry), seed=3, micro=micro)
    totals = run(batch, step=5, progress=0.25, last=last or {})
    return {n: p.grad.clone() for n, p in built.named_parameters() if p.grad is not None}, totals


def assert_close(left: Mapping[str, Tensor], right: Mapping[str, Tensor], tolerance: float) -> None:
    """Each tensor agrees, relative to its own size."""
    assert left.keys() == right.keys()
    for name in left:
        scale = max(float(right[name].abs().max()), 1e-30)
        error = float((left[name] - right[name]).abs().max()) / scale
        assert error <= tolerance, f"{name}: {error:.3g}"


class Rig:
    """A whole trainer over a folder; build one again over the same folder to resume."""

    def __init__(
        self,
        registry: Registry,
        folder: Path,
        *,
        steps: int = 12,
        nodes: Mapping[str, Any] | None = None,
        objective: Any = "cross_entropy",
        optimizer: Any = "adamw",
        schedule: Any = "cosine",
        adapter: Any = None,
        double: bool = False,
        stop: Callable[[], bool] = lambda: False,
        world: World | None = None,
        identity: str = "0123456789abcdef-s0",
        **settings: Any,
    ) -> None:
        registry = toys(registry)
        self.folder, self.records = folder, list[dict[str, Any]]()
        self.model = model(registry, double=double, **(nodes or {}))
        valid = shard(registry, count=6, seed=9)
        training: dict[str, Any] = {
            "objective": part(registry, "objective", objective),
            "optimizer": part(registry, "optimizer", optimizer),
            "schedule": part(registry, "schedule", schedule),
        }
        if adapter is not None:
            training["adapter"] = part(registry, "adapter", adapter)
            training["adapter"].attach(self.model, 0)
        self.optimizer: Optimizer = training["optimizer"]
        self.parts = training
        folder.mkdir(parents=True, exist_ok=True)
        usual = {"lr": 3e-3, "clip": 1.0, "flops": 10.0, "log_every": 3, "eval_every": 5, "checkpoint_seconds": 0.0}
        world = world or World()
        self.metrics = Metrics(folder / "metrics.jsonl") if world.first else None
        self.trainer = Trainer(
            self.model,
            batches=batches(shard(registry)),
            valid=lambda: valid_batches([valid], context=CONTEXT, size=4, pad=258),
            documents=len(valid.sizes),
            bytes_per_token=bytes_per_token(registry),
            hooks=hooks_of(self.model, training),
            settings=Settings(steps=steps, seed=0, **{**usual, **settings}),
            world=world,
            folder=folder / "checkpoint",
            identity=identity,
            metrics=self.metrics,
            report=lambda record: self.records.append(dict(record)),
            stop=stop,
            **{kind: training[kind] for kind in ("objective", "optimizer", "schedule")},
        )

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in weights_of(self.model).items()}

    def lines(self) -> list[dict[str, Any]]:
        """metrics.jsonl without what depends on the clock."""
        return without_clock(read_metrics(self.folder / "metrics.jsonl"))


def without_clock(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in WALL_FIELDS} for record in records]


def assert_same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    """Bit for bit."""
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name
