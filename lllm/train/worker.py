"""python -m lllm.train.worker RUN_DIRECTORY [--info RUN_JSON]: one process of one run, started by a launcher.

--info is what `lllm run --dry-run` prints: run.json, packed, for a directory that does not have it yet.

Exit codes: 0 finished, 1 failed (its reason is in status.json), 2 bad input, 130 stopped with its state saved.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lllm.errors import EXIT_CODE, UserError
from lllm.openmp import spin
from lllm.results.ownership import Owned
from lllm.results.run import Run, create
from lllm.results.sources import keep_sources
from lllm.train.interrupt import STOPPED, end_with_parent, stop_on_signal

__all__ = ["INFO", "main", "packed", "unpacked"]

FAILED = 1
INFO = "--info"


def main(path: str, carried: str | None = None) -> int:
    """Train the run whose run.json is in `path`, or else is `carried`."""
    end_with_parent()
    spin()  # before torch is loaded, whose OpenMP reads it once
    from lllm.config import restore
    from lllm.registry import load_registry
    from lllm.train.job import train
    from lllm.train.trainer import Failed, Interrupted
    from lllm.train.world import joined

    try:
        info = Run(Path(path)).info if carried is None or Path(path, "run.json").exists() else unpacked(carried)
        execution = dict(info["config"]["execution"])
        registry = load_registry(execution.pop("plugins", []))
        execution.pop("shared_timing", None)
        resolved = restore(info["experiment"], info["variant"], info["config"]["semantic"], execution, registry)
        with stop_on_signal() as stop, joined(resolved.run.device) as world:
            if world.first and carried is not None:
                create(Path(path), info)
                keep_sources(Path(path), info["parts"])
            train(Path(path), info, resolved, registry, world=world, stop=stop)
    except (UserError, Owned) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return FAILED
    except (Interrupted, KeyboardInterrupt):
        return STOPPED
    return 0


def packed(info: Mapping[str, Any]) -> str:
    """The content of run.json as a word that no shell changes."""
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(info).encode(), 9)).decode()


def unpacked(word: str) -> dict[str, Any]:
    """The inverse of `packed`.

    Raises:
        UserError: the word was cut or changed.
    """
    try:
        info: dict[str, Any] = json.loads(zlib.decompress(base64.urlsafe_b64decode(word)))
    except (ValueError, zlib.error):
        raise UserError(f"{INFO} {word[:8]}...: damaged; expected the whole line that --dry-run printed") from None
    return info


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lllm.train.worker")
    parser.add_argument("path")
    parser.add_argument(INFO)
    given = parser.parse_args()
    code = main(given.path, given.info)
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written. Gloo's threads now and then abort an interpreter that is taken down around them ("terminate
    # called without an active exception"), which torchrun would take for a failed run.
    os._exit(code)
