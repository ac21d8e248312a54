"""The suite of launchers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lllm.check.launchers import launcher
from lllm.check.training import ALONE
from lllm.errors import UserError
from lllm.launch.contracts import Launcher
from lllm.registry import PartConfig, register


@register("launcher", "toy_batch")
class Batch(Launcher):
    """One process on each of several machines, by a batch system."""

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        if nproc > 1:
            raise UserError(f"run.nproc = {nproc}: one process on each machine; expected 1")
        return ["srun", f"-N{nnodes}", python, "-m", *arguments]


@register("launcher", "bad_line")
class OneString(Batch):
    """A command line instead of a list."""

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        return " ".join(super().command(python, arguments, nproc=1, nnodes=nnodes))  # type: ignore[return-value]


@register("launcher", "bad_arguments")
class LosesArguments(Batch):
    """Runs the module without its run."""

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        return super().command(python, arguments[:1], nproc=nproc, nnodes=nnodes)


@register("launcher", "bad_size")
class OneProcess(Batch):
    """Starts one process, whatever is asked."""

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        return super().command(python, arguments, nproc=1, nnodes=1)


@register("launcher", "bad_refusal")
class Asserts(Batch):
    """Refuses by a traceback."""

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        if nnodes > 1:
            raise ValueError("too many")
        return super().command(python, arguments, nproc=nproc, nnodes=nnodes)


@register("launcher", "bad_nothing")
class StartsNothing(Batch):
    """Refuses everything."""

    def command(
        self, python: str, arguments: Sequence[str], *, nproc: int, nnodes: int, name: str = "lllm"
    ) -> list[str]:
        raise UserError("not today")


@register("launcher", "bad_missing")
class SaysNone(Batch):
    """Gives no sentence where it misses nothing."""

    def missing(self, *, nproc: int, nnodes: int) -> str:
        return None  # type: ignore[return-value]


def test_a_sound_launcher_passes() -> None:
    assert list(launcher(lambda: Batch(PartConfig(), ALONE))) == []


@pytest.mark.parametrize(
    ("cls", "test", "message"),
    [
        (OneString, "command", "expected a list of strings"),
        (LosesArguments, "command", "expected '-m', the module and its arguments"),
        (OneProcess, "size", "says nothing of 3 machines"),
        (Asserts, "refuses", "raises ValueError: too many; expected a UserError"),
        (SaysNone, "missing", "expected a sentence, or '' where nothing is missing"),
        (StartsNothing, "command", "one process on one machine too"),
    ],
)
def test_broken_launchers_are_told_what_is_wrong(cls: type[Launcher], test: str, message: str) -> None:
    found = list(launcher(lambda: cls(PartConfig(), ALONE)))
    assert any(name == test and message in why for name, why in found), found
