"""One registry for the session: loading parts executes their files."""

import pytest

from lllm.registry import Registry, load_registry


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()
