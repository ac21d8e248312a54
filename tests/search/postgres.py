"""A temporary PostgreSQL cluster on the loopback, that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

PLAIN = "nobody"  # who owns the cluster where the tests run as root, as which PostgreSQL refuses to


def binaries() -> Path | None:
    """The folder that has initdb and postgres, the newest one there is."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Server:
    """One cluster of its own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            shutil.chown(folder, PLAIN)
            self._as = {"user": PLAIN, "group": "nogroup", "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "lllm", "--no-sync", "--locale=C"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **self._as)
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://lllm:notused@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, or start it again: one that was killed leaves processes that take a moment to see it."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    [
                        self.programs / "postgres",
                        *("-D", self.folder / "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", ""),
                        *("-c", "fsync=off", "-c", "shared_buffers=16MB"),
                    ],
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    **self._as,
                )
            while self.process.poll() is None:
                with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=5):
                    return
                assert time.monotonic() < end, (self.folder / "log").read_text()
                time.sleep(0.05)
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text())

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it, with everybody who is connected."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def served() -> Iterator[Server]:
    """A cluster for the length of the block; skips the test, with the reason, where there can be none."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # not pytest's: its folders are private
        server = Server(Path(name), programs)
        try:
            yield server
        finally:
            server.stop()
