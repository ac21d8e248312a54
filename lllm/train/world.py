"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["World", "joined"]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """rank of size processes, each on its `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def share(self, rows: int) -> tuple[int, int]:
        """The contiguous rows [start, stop) of a global batch of `rows` that this process takes."""
        return self.rank * rows // self.size, (self.rank + 1) * rows // self.size

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Sum each tensor over the processes, in place."""
        if self.size > 1:
            for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
                work.wait()

    def share_(self, tensors: Sequence[Tensor]) -> None:
        """Give each tensor the first process's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), 0)

    def agree(self, value: float) -> float:
        """The first process's `value`, everywhere."""
        if self.size == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(box, 0)
        return float(box)


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """This process's place, from torchrun's environment; `device` auto is CUDA where there is one."""
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    place = torch.device(f"cuda:{local}" if kind == "cuda" else kind)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if size == 1:
        yield World(device=place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), size, place)
        dist.barrier()  # none takes its connections down while another still uses them
    finally:
        dist.destroy_process_group()
