"""What each of two processes does in `test_world.py`; started as `python -m tests.train.ranks RANK PORT OUT CASE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lllm.registry import load_registry
from lllm.train.evaluate import evaluate
from lllm.train.gradients import Gradients
from lllm.train.world import World, joined
from tests.train.helpers import Rig, bytes_per_token, gradients_of, part, shard, toys
from tests.train.test_evaluate import rows
from tests.train.test_gradients import CASES, LAST, case


def gradients(world: World, out: Path) -> None:
    """Of every case, in two ranks; three rows each, with unequal numbers of tokens."""
    registry = load_registry()
    for name in CASES:
        parts, built, batch, rule = case(registry, name)
        mine = batch.slice(*world.share(len(batch)))
        found, totals = gradients_of(parts, built, mine, world=world, **rule)
        labels = Gradients(built, part(parts, "objective", "cross_entropy"), world, bytes_per_token(parts), seed=3)
        drawn, tokens = labels.on_sampled_labels(mine, step=5, progress=0.25, last=LAST)
        sums = torch.tensor([totals.nats, totals.weight, totals.tokens, totals.bytes, tokens], dtype=torch.float64)
        kept = {"sums": sums, **{f"drawn.{n}": g for n, g in drawn.items()}, **found}
        save_file(kept, out / f"gradients.{name}.{world.rank}.safetensors")


def evaluation(world: World, out: Path) -> None:
    """One document and seven, so that a rank has no row at all."""
    registry = toys(load_registry())
    for name in ("plain", "chunk"):
        _, built, _, _ = case(registry, name)
        for count in (1, 7):
            data = shard(registry, count=count, seed=2)
            found = evaluate(
                built, rows(data, size=4), documents=count, bytes_per_token=bytes_per_token(registry), world=world
            )
            kept = {key: torch.from_numpy(score.nats) for key, score in found.scores.items()}
            kept["bytes"] = torch.from_numpy(found.bytes)
            save_file(kept, out / f"evaluation.{name}.{count}.{world.rank}.safetensors")


def training(world: World, out: Path) -> None:
    """Noise, an auxiliary loss and a statistic; a merging adapter; the curvature of drawn labels."""
    registry = load_registry()
    for name, options in TRAINED.items():
        rig = Rig(registry, out / name / str(world.rank), double=True, world=world, **options)
        rig.trainer.run()
        save_file(rig.weights(), out / f"training.{name}.{world.rank}.safetensors")


TRAINED: dict[str, dict[str, Any]] = {
    "steered": {"nodes": {"ffn": "toy_steered"}},
    "adapter": {"adapter": "toy_lora"},
    "curvature": {"optimizer": "toy_gnb"},
    "averaged": {"optimizer": "toy_averaged", "objective": "toy_select"},
}


def main(rank: int, port: str, out: Path, what: str) -> None:
    """One rank of two."""
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {**place, "MASTER_PORT": port}
    torch.set_num_threads(1)
    with joined("cpu") as world:
        {"gradients": gradients, "evaluation": evaluation, "training": training}[what](world, out)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    os._exit(0)  # gloo's threads now and then abort an interpreter that is taken down around them
