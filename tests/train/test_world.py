"""Two processes train and score as one does."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lllm.registry import Registry
from lllm.train.evaluate import evaluate
from lllm.train.gradients import Gradients
from lllm.train.world import World, joined
from tests.train.helpers import Rig, assert_close, bytes_per_token, gradients_of, part, shard, toys
from tests.train.ranks import TRAINED
from tests.train.test_evaluate import rows
from tests.train.test_gradients import CASES, LAST, case


def two_ranks(out: Path, what: str) -> None:
    """Run `tests.train.ranks` in two real processes joined by gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "tests.train.ranks"]
    root = Path(__file__).parents[2]
    ranks = [
        subprocess.Popen([*command, str(rank), port, str(out), what], cwd=root, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for rank in ranks:
        _, said = rank.communicate(timeout=120)
        assert rank.returncode == 0, said.decode()


def both(out: Path, name: str) -> dict[str, Tensor]:
    """What the two ranks kept, which is the same."""
    left, right = (load_file(out / f"{name}.{rank}.safetensors") for rank in range(2))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    return left


def test_gradients_of_two_ranks_are_those_of_one(registry: Registry, tmp_path: Path) -> None:
    two_ranks(tmp_path, "gradients")
    for name in CASES:
        parts, built, batch, rule = case(registry, name)
        counts = [int(batch.slice(*World(rank, 2).share(len(batch))).ok.sum()) for rank in range(2)]
        assert counts[0] != counts[1]
        found = both(tmp_path, f"gradients.{name}")
        expected, totals = gradients_of(parts, built, batch, **rule)
        labels = Gradients(built, part(parts, "objective", "cross_entropy"), World(), bytes_per_token(parts), seed=3)
        drawn, tokens = labels.on_sampled_labels(batch, step=5, progress=0.25, last=LAST)
        sums = found.pop("sums").tolist()
        assert sums == pytest.approx([totals.nats, totals.weight, totals.tokens, totals.bytes, tokens], rel=1e-12)
        assert_close(found, {**expected, **{f"drawn.{n}": g for n, g in drawn.items()}}, 1e-12)


def test_evaluation_by_two_ranks_is_that_by_one(registry: Registry, tmp_path: Path) -> None:
    two_ranks(tmp_path, "evaluation")
    registry = toys(registry)
    for name in ("plain", "chunk"):
        _, built, _, _ = case(registry, name)
        for count in (1, 7):
            data = shard(registry, count=count, seed=2)
            whole = evaluate(built, rows(data, size=4), documents=count, bytes_per_token=bytes_per_token(registry))
            found = both(tmp_path, f"evaluation.{name}.{count}")
            assert found.pop("bytes").tolist() == whole.bytes.tolist()
            assert found.keys() == whole.scores.keys()
            for key, score in whole.scores.items():
                assert found[key].tolist() == pytest.approx(score.nats.tolist(), rel=1e-12)


def test_training_by_two_ranks_is_that_by_one(registry: Registry, tmp_path: Path) -> None:
    two_ranks(tmp_path, "training")
    for name, options in TRAINED.items():
        rig = Rig(registry, tmp_path / "one" / name, double=True, **options)
        rig.trainer.run()
        assert_close(both(tmp_path, f"training.{name}"), rig.weights(), 1e-9)
        assert not (tmp_path / name / "1" / "metrics.jsonl").exists()  # the first process writes


def test_shares_cover_the_batch() -> None:
    for size in (1, 2, 3, 5, 8):
        shares = [World(rank, size).share(8) for rank in range(size)]
        assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])]
        assert shares[-1][1] == 8
        assert max(stop - start for start, stop in shares) - min(stop - start for start, stop in shares) <= 1


def test_one_process_needs_no_group() -> None:
    with joined("cpu") as world:
        assert world == World()
        assert world.agree(2.5) == 2.5
