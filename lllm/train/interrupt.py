"""Ctrl-C and SIGTERM ask a run to stop at the end of its step; a second Ctrl-C does not wait. A run that was started by
another process ends with it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["PARENT", "STOPPED", "end_with_parent", "stop_on_signal"]

PARENT = "LLLM_STDIN_IS_PARENT"  # set where standard input is a pipe that the starting process holds open
STOPPED = 130


def end_with_parent() -> None:
    """Where this process was started by another one that holds its standard input open: end when that one is gone,
    even by a signal that cannot be caught, so that its next start finds the run free."""
    if os.environ.get(PARENT):
        threading.Thread(target=_wait_for_end, name="parent", daemon=True).start()


def _wait_for_end() -> None:
    while os.read(0, 1):
        pass
    os._exit(STOPPED)  # at once: what is not saved by now is trained again


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether to stop. Outside the main thread signals are left alone."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
