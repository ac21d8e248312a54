"""Suite of launchers: commands that would start the worker, and refusals in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from lllm.errors import UserError
from lllm.launch.contracts import Launcher

__all__ = ["launcher"]

_PYTHON = "/opt/python x/bin/python3"  # one argument, blank and all
_MODULE, _FOLDER = "some.worker", "results/a b/s0"
_SIZES = ((1, 1), (2, 1), (1, 3), (5, 3))  # processes on each machine, machines


def launcher(make: Callable[[], Any]) -> Iterator[tuple[str, str]]:
    """For each size a command or a UserError; a command is a list of strings that runs the module with its arguments
    and says how many processes there are."""
    part = make()
    assert isinstance(part, Launcher)
    accepted = 0
    for nproc, nnodes in _SIZES:
        asked = f"command(nproc={nproc}, nnodes={nnodes})"
        arguments = [_MODULE, _FOLDER]
        try:
            command: Any = part.command(_PYTHON, arguments, nproc=nproc, nnodes=nnodes, name="a run")
            missing: Any = part.missing(nproc=nproc, nnodes=nnodes)
        except UserError:
            continue
        except Exception as error:  # noqa: BLE001 - a stranger's part may raise anything, and that is its failure
            yield "refuses", f"{asked} raises {type(error).__name__}: {error}; expected a UserError that says why not"
            continue
        accepted += 1
        if not isinstance(missing, str):
            yield "missing", f"{asked} misses {missing!r}; expected a sentence, or '' where nothing is missing"
        if not (isinstance(command, list) and command and all(isinstance(word, str) and word for word in command)):
            yield "command", f"{asked} is {command!r}; expected a list of strings that are not empty"
            continue
        if arguments != [_MODULE, _FOLDER]:
            yield "command", f"{asked} changes the arguments that it was given"
        if ["-m", _MODULE, _FOLDER] not in [command[i : i + 3] for i in range(len(command))]:
            yield (
                "command",
                f"{asked} is {command}; expected '-m', the module and its arguments in it, one after another",
            )
        for what, count in (("processes", nproc), ("machines", nnodes)):
            if count > 1 and not any(str(count) in word for word in command if word not in (_PYTHON, _FOLDER)):
                yield (
                    "size",
                    f"{asked} is {command}, which says nothing of {count} {what}; expected that or a UserError",
                )
    if not accepted:
        yield "command", "every number of processes and machines is refused, one process on one machine too"
