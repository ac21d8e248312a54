"""A first signal asks, a second one does not wait, and a run ends with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from lllm.train.interrupt import PARENT, STOPPED, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_asks_and_a_second_one_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_other_threads_leave_signals_alone() -> None:
    found: list[bool] = []

    def run() -> None:
        with stop_on_signal() as stop:
            found.append(stop())

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("watched", [True, False])
def test_it_ends_with_its_parent_where_that_holds_its_input(watched: bool) -> None:
    code = (
        "import time; from lllm.train.interrupt import end_with_parent; end_with_parent(); print('on'); time.sleep({})"
    )
    process = subprocess.Popen(
        [sys.executable, "-uc", code.format(60 if watched else 0.3)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **({PARENT: "1"} if watched else {})},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    assert process.poll() is None
    process.stdin.close()  # as happens when the parent dies, however it dies
    assert process.wait(timeout=30) == (STOPPED if watched else 0)
    process.stdout.close()
