"""Torchrun over several machines that share the results folder."""

from __future__ import annotations

from collections.abc import Sequence

from lllm.launch.contracts import Launcher
from lllm.registry import PartConfig, register


@register("launcher", "torchrun", refs=["https://docs.pytorch.org/docs/stable/elastic/run.html"])
class Torchrun(Launcher):
    """The same command on every machine: torchrun with a c10d rendezvous at `endpoint`."""

    class Config(PartConfig):
        """endpoint: HOST:PORT of the first machine. id: of this rendezvous, equal on all machines."""

        endpoint: str = "localhost:29400"
        id: str = "lllm"

    config: Config

    def command(self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int) -> list[str]:
        return [
            python,
            "-m",
            "torch.distributed.run",
            f"--nnodes={nnodes}",
            f"--nproc-per-node={nproc}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={self.config.endpoint}",
            f"--rdzv-id={self.config.id}",
            "-m",
            *arguments,
        ]
