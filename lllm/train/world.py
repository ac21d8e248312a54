"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lllm.errors import UserError

__all__ = ["World", "device_of", "joined", "numerics", "refuse_device", "refuse_dtype"]

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


def device_of(device: str = "auto", local: int = 0) -> torch.device:
    """The device of the `local`-th process on this machine; auto is CUDA where there is one.

    Raises:
        UserError: there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind = ("cuda" if count else "cpu") if device == "auto" else device
    place = torch.device(f"cuda:{local}" if kind == "cuda" else kind)
    if place.type == "cuda" and (place.index or 0) >= count:
        here = f"this machine has {count} CUDA devices" if count else "this machine has no CUDA"
        raise UserError(f"run.device = '{device}': {here}; expected 'auto' or 'cpu'")
    return place


def refuse_device(device: str, precision: str) -> None:
    """Raises UserError where there is no such device, or it does not run at this precision."""
    if precision == "bfloat16" and device_of(device).type != "cuda":
        raise UserError("train.precision = 'bfloat16': runs on CUDA only; expected 'float32' on this device")
    device_of(device)


def refuse_dtype() -> None:
    """Raises UserError where something, a part that was imported for example, has changed the default dtype."""
    if torch.get_default_dtype() != torch.float32:
        raise UserError(
            f"the default dtype is {torch.get_default_dtype()}; expected torch.float32, in which parameters are, "
            "whatever train.precision is: no part may call torch.set_default_dtype"
        )


def numerics() -> dict[str, Any]:
    """How this process computes, beside the settings of a run: what may change the last bits of its numbers."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """This process's place, from torchrun's environment; `device` as in `device_of`."""
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    place = device_of(device, local)
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
