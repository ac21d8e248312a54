"""One registry for the session: loading parts executes their files."""

import os

# Tests run side by side, one per core: their own threads would only wait for one another. Set before torch is loaded,
# and inherited by the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "200")  # recorded with each run: not by what else the machine does meanwhile

import pytest

from lllm.registry import Registry, load_registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()
