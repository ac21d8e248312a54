"""Synthetic run directories, as a trainer would leave them."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lllm.results.documents import Documents, write_documents
from lllm.results.files import Metrics, write_json
from lllm.results.run import Run, create, run_path

CONFIG: dict[str, Any] = {
    "model": {"width": 64, "head": {"use": "first", "depth": 2}, "trunk": {"use": "stack", "depth": 4}},
    "train": {"lr": 0.002, "batch": 16},
}
PARTS = {
    "head/first": {"path": "/somewhere/first.py", "digest": "aa", "version": 1},
    "trunk/stack": {"path": "/somewhere/stack.py", "digest": "bb", "version": 1},
}
FINGERPRINTS = {"code": "c" * 32, "data": "d" * 32, "evaluator": "e" * 32}

CLOCK = itertools.count(1)  # runs end in the order in which they are made

MakeRun = Callable[..., Run]


def arm(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


PROBED = {"end": {"passed": True, "largest": 4e-6, "covered": 256}}


def info(variant: str, identity: str, seed: int, **changes: Any) -> dict[str, Any]:
    return {
        "experiment": "study",
        "variant": variant,
        "baseline": False,
        "name": None,
        "arm": identity,
        "seed": seed,
        "config": {"semantic": CONFIG, "execution": {"device": "cpu", "workers": 1}},
        "fingerprints": {"arm": identity, **FINGERPRINTS},
        "parts": PARTS,
        "steps": 4,
        "budget": {"steps": 4},
        "sizes": {"parameters": 1_310_000, "train_flops_per_byte": 12.3e6, "bytes_per_step": 4096},
        "git": "abc",
        "environment": {"python": "3.12.1", "torch": "2.13.0"},
        "argv": ["lllm", "run", "study"],
        "kernels": {},
        **changes,
    }


def result(bpb: float) -> dict[str, Any]:
    return {
        "bpb": bpb,
        "bpb_text": bpb - 0.01,
        "nats_per_byte": bpb * 0.6931,
        "kind": "exact",
        "likelihood": "exact",
        "likelihoods": {"exact": {"kind": "exact", "bpb": bpb, "primary": True}},
        "parameters": 1_310_000,
        "train_flops_per_byte": 12.3e6,
        "train_flops": 2.0e11,
        "train_bytes": 16384,
        "seconds": 38.25,
        "bytes_per_second": 45_100.0,
        "generation_bytes_per_second": 812.0,
        "shared_timing": False,
        "slots": [1.5, 2.0],
        "positions": {"0": 1.7},
        "documents": 24,
        "untuned": True,
    }


def metrics(seed: int, steps: int = 4) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {"step": step, "tokens": step * 64, "loss": 3.0 / step + seed, "lr": 0.002, "seconds": 0.1, "memory": 7}
        for step in range(1, steps + 1)
    ]
    return [*lines, {"step": steps, "bpb": 2.5 + seed, "seconds": 0.2}]


def documents(cost: float, texts: tuple[str, ...] = ("a", "b", "c")) -> Documents:
    hashes = [list(hashlib.blake2b(text.encode(), digest_size=16).digest()) for text in texts]
    nats = np.arange(1.0, len(texts) + 1.0) * cost
    return Documents(np.array(hashes, np.uint8), np.full(len(texts), 10, np.int64), {"exact": nats})


def even(bpb: float, count: int = 24) -> Documents:
    """Documents of ten bytes each, at as many bits per byte: what a run says is the same of any of them."""
    nats = np.full(count, 10 * bpb * math.log(2))
    return Documents(documents(1.0, tuple(map(str, range(count)))).hash, np.full(count, 10, np.int64), {"exact": nats})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def make_run(root: Path) -> MakeRun:
    """make_run(variant, seed, bpb): a finished run; bpb None: one that was only begun."""

    def make(
        variant: str,
        seed: int = 0,
        bpb: float | None = 2.5,
        *,
        experiment: str = "study",
        identity: str | None = None,
        results: dict[str, Any] | None = None,
        place: str | None = None,
        **changes: Any,
    ) -> Run:
        identity = identity or arm(variant)
        path = run_path(root, experiment, variant, identity, seed)
        path = path.with_name(place) if place else path
        run = create(path, info(variant, identity, seed, experiment=experiment, **changes))
        with Metrics(path / "metrics.jsonl") as lines:
            for record in metrics(seed):
                lines.append(record)
        if bpb is not None:
            write_json(path / "probe.json", PROBED)
            write_documents(path / "documents.npz", even(bpb))
            ended = {"finished_at": float(next(CLOCK))}
            write_json(path / "result.json", {**result(bpb), **ended, **(results or {})})
        return run

    return make
