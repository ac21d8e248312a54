"""python -m tests.golden.losses: write losses.json anew, and print which parts' losses moved.

Do that when a change of `lllm/` or of a shipped part is meant to change what is trained. If the code of lllm itself
changed them, raise `MEANING` in lllm/identity.py in the same commit: the runs of before are then stale.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lllm.config import Tree, load_experiment, resolve
from lllm.model.noise import initialise
from lllm.registry import Registry, load_registry
from lllm.results.files import Metrics, read_metrics
from lllm.train.setup import Setup, hooks_of, training_parts
from lllm.train.trainer import Settings, Trainer
from lllm.train.world import World

PINNED = Path(__file__).with_name("losses.json")
STEPS = 20
_LATENT = """
hypothesis: a loss that is pinned
corpus: {use: text, path: state_union, document: 16KB}
data: {context: 32}
model: {ratio: 4, width: 16, mixer.heads: 2, trunk: {use: uniform, depth: 1}, head: {use: parallel, hidden: 16}}
train: {batch: 4, optimizer: adamw}
eval: {bytes: 256}
budget: {steps: 20}
"""
# What puts a part into that composition, where its name alone does not.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "corpus/text": {"corpus": {"use": "text", "path": "tinyshakespeare"}},
    "downsampler/identity": {"model.ratio": 1, "model.downsampler": "identity"},
    "head/local_ar": {"model.head": {"use": "local_ar", "depth": 1}},
    "trunk/pattern": {"model.trunk": {"use": "pattern", "depth": 2, "mixers": ["attention"]}},
}
EXECUTION = ("launcher",)  # kinds that say how a run is started, and change no loss


def cases(registry: Registry) -> list[str]:
    """'kind/name' of every shipped part that may change a loss."""
    shipped = [entry for entry in registry.of(registry.kinds()) if entry.source == "shipped"]
    return [f"{entry.kind}/{entry.name}" for entry in shipped if entry.kind not in EXECUTION]


def losses(registry: Registry, case: str, folder: Path) -> list[float]:
    """The loss of each of 20 steps in float64 of a small composition with the part, then its bits per byte."""
    kind, _, name = case.partition("/")
    (folder / "golden.yaml").write_text(_LATENT)
    changed = Tree()
    for path, value in SMALL.get(case, {registry.place(kind): name}).items():
        changed.put(path, value, "golden")
    resolved = resolve(load_experiment(str(folder / "golden.yaml")), "base", changed, registry)
    setup = Setup.prepare(registry, resolved)
    model = setup.model(0).double()
    initialise(model, 0)  # drawn in float32, as ever
    training = training_parts(setup, model, 0)
    with Metrics(folder / "metrics.jsonl") as metrics:
        trainer = Trainer(
            model,
            batches=setup.batches(0),
            valid=setup.valid,
            documents=setup.documents,
            bytes_per_token=setup.bytes_per_token,
            **{kind: training[kind] for kind in ("objective", "optimizer", "schedule")},
            hooks=hooks_of(model, training),
            settings=Settings(steps=STEPS, seed=0, lr=resolved.lr, clip=1.0, flops=1.0, log_every=1, eval_every=STEPS),
            world=World(),
            folder=folder / "checkpoint",
            identity="golden",
            metrics=metrics,
            corpus=resolved.build_data().part("corpus"),
        )
        bpb = trainer.run().result()["bpb"]
    found = [record["loss"] for record in read_metrics(folder / "metrics.jsonl") if "loss" in record]
    return [*found, bpb]


@contextmanager
def alone() -> Iterator[None]:
    """One thread, and a standard library that every Python has: the corpus python_stdlib reads the running one's."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for i in range(60):
            text = "".join(f"def f{i}_{j}(x):\n    return x + {i * j}\n" for j in range(i % 7 + 1))
            Path(folder, f"module_{i}.py").write_text(text)
        patch.setattr("sysconfig.get_path", lambda name: folder)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def main() -> None:
    """Write what is found now over what was pinned."""
    registry = load_registry()
    before = json.loads(PINNED.read_text()) if PINNED.is_file() else {}
    now = {}
    for case in cases(registry):
        with alone(), tempfile.TemporaryDirectory() as folder:
            now[case] = [float(f"{loss:.12g}") for loss in losses(registry, case, Path(folder))]
        if before.get(case) != now[case]:
            print(f"{case}: {before.get(case, ['nothing'])[-1]} -> {now[case][-1]}")
    lines = (f"{json.dumps(case)}: {json.dumps(found)}" for case, found in sorted(now.items()))
    PINNED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
