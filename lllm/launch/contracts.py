"""Contract of a launcher: from the worker's command to the command that starts it on the machines at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from lllm.registry import Part

__all__ = ["Launcher"]


class Launcher(Part, ABC):
    """Builds commands; the platform runs them."""

    kind: ClassVar[str] = "launcher"
    section: ClassVar[str] = "run"

    @abstractmethod
    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        """The command that runs `python -m arguments` in `nproc` processes on each of `nnodes` machines. name: of the
        run; two that are started at once have different ones. What `missing` asks for stands in it as a placeholder.

        Raises:
            UserError: it cannot start that many.
        """

    def missing(self, *, nproc: int, nnodes: int) -> str:
        """What the user must still say before `command` can be started as it is, as one sentence; '': nothing."""
        return ""
