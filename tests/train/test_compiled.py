"""Compiled training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lllm.registry import Registry
from tests.train.helpers import Rig


@pytest.mark.slow
@pytest.mark.parametrize("ffn", ["swiglu", {"use": "toy_steered", "noise": 0.0}, "toy_steered"])
def test_compiled_it_is_the_same_training(registry: Registry, tmp_path: Path, ffn: Any) -> None:
    """One graph, of which in-model noise is an operator."""
    options: dict[str, Any] = {"nodes": {"ffn": ffn}, "log_every": 1, "steps": 8, "eval_every": 4}
    eager = Rig(registry, tmp_path / "eager", **options)
    compiled = Rig(registry, tmp_path / "compiled", compile=True, **options)
    expected, found = eager.trainer.run(), compiled.trainer.run()
    assert found.bpb() == pytest.approx(expected.bpb(), rel=1e-4)
    for left, right in zip(compiled.records, eager.records, strict=True):
        for key, tolerance in {"loss": 1e-4, "bpb": 1e-4, "grad_norm": 1e-3}.items():
            assert left.get(key, 0.0) == pytest.approx(right.get(key, 0.0), rel=tolerance)
