"""Processes on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from lllm.errors import UserError
from lllm.launch.contracts import Launcher
from lllm.registry import PartConfig, register


@register("launcher", "local")
class Local(Launcher):
    """One process as it is, several by torchrun's standalone rendezvous on this machine."""

    class Config(PartConfig):
        """No options."""

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        if nnodes > 1:
            raise UserError(f"run.nnodes = {nnodes}: this launcher starts one machine; expected --launcher torchrun")
        if nproc == 1:
            return [python, "-m", *arguments]
        started = [python, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={nproc}"]
        return [*started, "-m", *arguments]
