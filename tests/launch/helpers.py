"""A folder with a tiny experiment, in which everything is real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lllm.config import load_experiment, split_words
from lllm.identity import checkpoint_identity
from lllm.launch.arms import Arms
from lllm.launch.execute import execute
from lllm.launch.plan import Plan, Planned, make_plan
from lllm.registry import load_registry
from lllm.results.files import WALL_FIELDS, read_metrics
from lllm.results.run import Run
from lllm.train.checkpoint import load_newest
from tests.train.helpers import texts

TINY = """\
hypothesis: a test
corpus: {use: text, path: corpus.txt, document: blank_line}
data: {context: 32}
model: {ratio: 4, width: 16, trunk: {use: uniform, depth: 1}, head: {use: local_ar, depth: 1}}
train: {batch: 4}
eval: {bytes: 300}
budget: {steps: 6}
run: {samples: 1, sample_bytes: 8, device: cpu, threads: 1, log_every: 2}
"""


class Watch:
    """Keeps what a watcher is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.ends: list[tuple[str, str, str]] = []

    def started(self, run: Planned, steps: int) -> None:
        self.begun.append((run.name, steps))

    def record(self, run: Planned, record: Mapping[str, Any]) -> None:
        self.records.append((run.name, dict(record)))

    def ended(self, run: Planned, state: str, message: str = "") -> None:
        self.ends.append((run.name, state, message))


class Place:
    """The working directory of a test."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
        self.path, self.plugins = path, list[Path]()
        (path / "experiments").mkdir(parents=True, exist_ok=True)
        self.corpus("\n\n".join(text.decode() for text in texts(200)))
        self.write(TINY)
        if monkeypatch is not None:
            monkeypatch.chdir(path)
            monkeypatch.delenv("LLLM_DATA", raising=False)

    def write(self, text: str, name: str = "tiny") -> None:
        (self.path / "experiments" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def corpus(self, text: str) -> None:
        (self.path / "corpus.txt").write_text(text, encoding="utf-8")

    def arms(self, *words: str, **options: Any) -> tuple[Arms, tuple[str, ...]]:
        experiment = load_experiment("tiny")
        variants, overrides = split_words(words, experiment)
        return Arms(experiment, overrides, load_registry(self.plugins), **options), variants

    def plan(self, *words: str, seeds: tuple[int, ...] = (0,), **options: Any) -> Plan:
        arms, variants = self.arms(*words, measure=options.pop("measure", None))
        return make_plan(arms, variants, seeds, **options)

    def train(self, plan: Plan) -> tuple[bool, Watch]:
        watch = Watch()
        return execute(plan, watch), watch

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`lllm ARGUMENTS` in a process of its own."""
        return self._python("-c", "from lllm.cli import main; main()", *arguments, **environment)

    def work(self, path: Path) -> subprocess.Popen[str]:
        """The worker of the run at `path`, as a launcher starts it."""
        return self._python("-m", "lllm.train.worker", str(path))

    def _python(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    def lllm(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `lllm ARGUMENTS`."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


def todo(plan: Plan) -> dict[str, tuple[str, str]]:
    """Run -> what is to be done and why."""
    return {run.name: (run.todo, run.why) for run in plan.runs}


def outcome(path: Path) -> tuple[list[dict[str, Any]], dict[str, list[Any]], dict[str, Any]]:
    """Metrics without the clock, final weights, and what of the result does not depend on the clock."""
    run = Run(path)
    lines = [{k: v for k, v in line.items() if k not in WALL_FIELDS} for line in read_metrics(path / "metrics.jsonl")]
    found = load_newest(path / "checkpoint", checkpoint_identity(run.info))
    assert found is not None
    weights = {name: np.asarray(tensor).tolist() for name, tensor in found[1]["model"].items()}
    clock = ("seconds", "bytes_per_second", "generation_bytes_per_second", "shared_timing", "finished_at")
    result = {key: value for key, value in (run.result or {}).items() if key not in clock}
    result.pop("digests", None)  # one is of metrics.jsonl, which has the clock in it
    samples = (path / "samples.jsonl").read_text()
    return lines, weights, {**result, "samples": samples}
