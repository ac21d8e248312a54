"""Torchrun over several machines that share the results folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from lllm.launch.contracts import Launcher
from lllm.registry import PartConfig, register

_HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
_PLACEHOLDER = "HOST:PORT"


@register("launcher", "torchrun", refs=["https://docs.pytorch.org/docs/stable/elastic/run.html"])
class Torchrun(Launcher):
    """The same command on every machine: torchrun with a c10d rendezvous at `endpoint`."""

    class Config(PartConfig):
        """endpoint: HOST:PORT of the first machine, which several machines need; on one machine a free port is taken.
        id: of the rendezvous, equal on all machines; the run's own when left out."""

        endpoint: Annotated[str, Field(pattern=r"^.+:\d+$")] = "localhost:0"
        id: str | None = None

    config: Config

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        endpoint = _PLACEHOLDER if self.missing(nproc=nproc, nnodes=nnodes) else self.config.endpoint
        return [
            python,
            "-m",
            "torch.distributed.run",
            f"--nnodes={nnodes}",
            f"--nproc-per-node={nproc}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={endpoint}",
            f"--rdzv-id={self.config.id or name}",
            "-m",
            *arguments,
        ]

    def missing(self, *, nproc: int, nnodes: int) -> str:
        """One machine cannot be found by the others as localhost."""
        if nnodes == 1 or self.config.endpoint.rpartition(":")[0] not in _HERE:
            return ""
        return (
            f"run.launcher.endpoint = '{self.config.endpoint}': {nnodes} machines must find the first one; "
            f"expected run.launcher.endpoint={_PLACEHOLDER}"
        )
