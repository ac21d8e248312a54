"""Runs as a table."""

from __future__ import annotations

import shutil
from pathlib import Path

from lllm.results.committed import runs
from lllm.results.compare import Expected, publish
from tests.results.conftest import MakeRun, arm


def test_one_flat_row_per_run_from_directories_and_from_committed_lines(make_run: MakeRun, root: Path) -> None:
    run = make_run("flat", 0, 2.5)
    make_run("small", 1, bpb=None)
    flat, small = runs(root)
    assert (flat["run"], flat["state"], flat["bpb"], flat["config.model.head.use"]) == (
        run.name,
        "finished",
        2.5,
        "first",
    )
    assert (flat["fingerprint.data"], flat["size.parameters"], flat["path"]) == ("d" * 32, 1_310_000, str(run.path))
    assert (small["state"], "bpb" in small) == ("empty", False)
    publish(root, "study", [Expected("flat", arm("flat"), True)])
    shutil.rmtree(root / "study" / "flat")
    committed = {row["run"]: row for row in runs(root)}[run.name]
    assert committed == {**flat, "path": None}
    assert runs(root, "nothing") == []
