"""T-DDP: two processes with unequal numbers of scored tokens make the gradient of one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from lllm.data.batches import Batch
from lllm.model import compose
from lllm.registry import Build, Registry, load_registry
from lllm.train.gradients import Gradients
from lllm.train.world import World
from tests.check import layers
from tests.check.compositions import toy, toys

ROWS = 6


def rows() -> Batch:
    """Six rows, the first rank's nearly empty, so that a mean of means would be another number."""
    lengths = torch.tensor([1, 2, 3, 24, 24, 23])
    tokens = torch.randint(0, 5, (ROWS, 24), generator=torch.Generator().manual_seed(0))
    ok = torch.arange(24) < lengths[:, None]
    index = torch.arange(ROWS)
    return Batch(tokens, ok, index, index * 0, index, index * 0)


def gradient(registry: Registry, world: World, batch: Batch) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    known = registry.with_parts(*toys(layers))
    model = compose(known, toy(known, ffn="toy_noisy"), dtype=torch.float64)
    objective: Any = Build(known, {}).part("objective", "cross_entropy")
    step = Gradients(model, objective, world, torch.ones(7, dtype=torch.long), seed=0, micro=2)
    totals = step(batch, step=5, progress=0.5, last={})
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return grads, {"nats": totals.nats, "weight": totals.weight, **totals.aux, **totals.statistics}


def _rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    world = World(rank, 2)
    made = gradient(load_registry(), world, rows().slice(*world.share(ROWS)))
    torch.save(made, f"{folder}/rank{rank}.pt")
    dist.barrier()  # none takes its connections down while the other still uses them
    dist.destroy_process_group()
    os._exit(0)  # without the interpreter's end, at which threads that still run abort the process now and then


def test_two_ranks_make_the_gradient_of_one(registry: Registry, tmp_path: Path) -> None:
    mp.spawn(_rank, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    whole, totals = gradient(registry, World(), rows())
    for rank in range(2):
        shared, seen = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert shared.keys() == whole.keys()
        for name, grad in whole.items():
            torch.testing.assert_close(shared[name], grad, rtol=1e-10, atol=1e-12, msg=name)
        torch.testing.assert_close(torch.tensor(list(seen.values())), torch.tensor(list(totals.values())))
    halves = [gradient(registry, World(), rows().slice(*half))[0] for half in ((0, 3), (3, 6))]
    means = {name: (halves[0][name] + halves[1][name]) / 2 for name in whole}
    assert not all(torch.allclose(means[name], whole[name], rtol=1e-2) for name in whole)  # the control
