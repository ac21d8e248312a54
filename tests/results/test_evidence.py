"""A table has what its runs wrote: no number that was edited, no directory that was moved aside, no mixed row."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lllm.results.committed import read_committed
from lllm.results.compare import Comparison, Expected, compare, publish
from lllm.results.documents import Documents, read_documents, write_documents
from lllm.results.files import file_digest, write_bytes, write_json
from lllm.results.run import Run, retire
from tests.results.conftest import FINGERPRINTS, MakeRun, arm, documents
from tests.results.tables import rows_of

PLATFORM = {"arm": "", **FINGERPRINTS, "platform": "1" * 32}


def whole(make_run: MakeRun, variant: str, seed: int = 0, bpb: float = 2.0, **changes: Any) -> Run:
    """A run whose files agree with one another, as a trainer leaves it."""
    run = make_run(variant, seed, bpb, **{"fingerprints": PLATFORM, **changes})
    made = documents(1.0)
    scale = bpb * math.log(2) * int(made.bytes.sum()) / float(made.nats["exact"].sum())
    write_documents(run.path / "documents.npz", replace(made, nats={"exact": made.nats["exact"] * scale}))
    signed(run)
    return run


def signed(run: Run, **changes: Any) -> None:
    digests = {name: file_digest(run.path / name) for name in ("documents.npz", "metrics.jsonl")}
    write_json(run.path / "result.json", {**(run.result or {}), "digests": digests, **changes})


def table(root: Path, *variants: str, seeds: tuple[int, ...] = (), **options: Any) -> Comparison:
    rows = [replace(row, seeds=seeds) for row in rows_of(*(variants or ("base", "small")))]
    return compare(root, "study", rows, **options)


def test_a_run_as_it_was_written_is_believed(make_run: MakeRun, root: Path) -> None:
    for seed in (0, 1):
        whole(make_run, "base", seed, 2.0 + seed / 10)
    row = table(root, "base").rows[0]
    assert (row.seeds, row.bpb, row.unfinished) == ((0, 1), pytest.approx(2.05), {})


def number(run: Run) -> None:
    write_json(run.path / "result.json", {**(run.result or {}), "bpb": 1.5})


def documents_too(run: Run) -> None:
    number(run)
    made = read_documents(run.path / "documents.npz")
    write_documents(run.path / "documents.npz", replace(made, nats={"exact": made.nats["exact"] * 0.75}))


def unsigned(run: Run) -> None:
    documents_too(run)
    result = dict(run.result or {})
    del result["digests"]
    write_json(run.path / "result.json", result)


def a_curve(run: Run) -> None:
    lines = (run.path / "metrics.jsonl").read_text().replace('"loss": 3.0', '"loss": 1.0')
    write_bytes(run.path / "metrics.jsonl", lines.encode())


def another_likelihood(run: Run) -> None:
    write_json(run.path / "result.json", {**(run.result or {}), "likelihood": "sharper"})


def taken_away(run: Run) -> None:
    (run.path / "documents.npz").unlink()


@pytest.mark.parametrize("edit", [number, documents_too, unsigned, a_curve, another_likelihood, taken_away])
def test_a_run_that_was_edited_by_hand_is_refused(make_run: MakeRun, root: Path, edit: Callable[[Run], None]) -> None:
    for seed in (0, 1, 2):
        for variant, bpb in (("base", 2.0), ("small", 2.1)):
            run = whole(make_run, variant, seed, bpb + seed / 100)
    edit(run)
    small = next(row for row in table(root).rows if row.variant == "small")
    assert small.seeds == (0, 1)
    assert small.unfinished.keys() == {2}
    assert small.unfinished[2].startswith("edited by hand: ")
    assert small.bpb == pytest.approx(2.105)
    publish(root, "study", rows_of("base", "small"))
    assert {(r.variant, r.seed) for r in read_committed(root, "study")} == {
        (variant, seed) for variant in ("base", "small") for seed in (0, 1, 2)
    } - {("small", 2)}


def test_other_arms_are_sifted_too(make_run: MakeRun, root: Path) -> None:
    whole(make_run, "base")
    number(whole(make_run, "base", identity=arm("other"), bpb=2.0))
    assert [row.bpb for row in table(root, "base", all_runs=True).rows] == [pytest.approx(2.0)]


def test_damaged_documents_are_said_and_do_not_hide_the_table(make_run: MakeRun, root: Path) -> None:
    whole(make_run, "base", 0)
    run = whole(make_run, "base", 1)
    (run.path / "documents.npz").write_bytes(b"PK")
    signed(run)
    row = table(root, "base").rows[0]
    assert row.seeds == (0,)
    assert "documents.npz: damaged" in row.unfinished[1]


def test_a_likelihood_of_no_kind_has_nothing_to_sum(make_run: MakeRun, root: Path) -> None:
    run = make_run("base", 0, 2.0, fingerprints=PLATFORM)
    write_documents(run.path / "documents.npz", Documents(np.zeros((1, 16), np.uint8), np.array([9]), {}))
    signed(run, kind="none", bpb=None)
    assert table(root, "base").rows[0].seeds == (0,)


# --- lllm's own code ------------------------------------------------------------------------------------------------


def test_a_row_never_averages_two_states_of_the_platform(make_run: MakeRun, root: Path) -> None:
    for seed in range(5):
        other = {**PLATFORM, "platform": "2" * 32} if seed > 2 else PLATFORM
        whole(make_run, "base", seed, 2.0 if seed < 3 else 9.0, fingerprints=other)
    found = table(root, "base", seeds=(0, 1, 2, 3, 4))
    first, second = found.rows
    assert (first.seeds, first.bpb, first.stale) == ((0, 1, 2), pytest.approx(2.0), False)
    assert first.unfinished.keys() == {3, 4}
    assert "not run" not in first.unfinished.values()
    assert (second.seeds, second.bpb, second.stale) == ((3, 4), pytest.approx(9.0), True)
    assert found.warnings == ()  # the second is no row of the comparison


def test_a_table_of_two_states_says_so(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        whole(make_run, "base", seed, 2.0 + seed / 100)
        whole(make_run, "small", seed, 2.1 + seed / 100, fingerprints={**PLATFORM, "platform": "2" * 32})
    (said,) = [text for text in table(root).warnings if "states of lllm's own code" in text]
    assert "11111111: base; 22222222: small" in said
    assert table(root).rows[1].delta == pytest.approx(0.1)


# --- what times of files and retired directories say: nothing ---------------------------------------------------------


def test_a_directory_moved_aside_is_in_no_table(make_run: MakeRun, root: Path) -> None:
    retire(whole(make_run, "base", 0, 9.0).path, "stale", "head/first changed")
    retire(whole(make_run, "base", 1, 9.0).path, "forced")
    whole(make_run, "base", 0, 2.0)
    for all_runs in (False, True):
        found = table(root, "base", seeds=(0, 1), all_runs=all_runs)
        assert [(row.seeds, row.bpb) for row in found.rows] == [((0,), pytest.approx(2.0))]
        assert (found.rows[0].unfinished, found.hidden) == ({1: "not run"}, 0)


def test_times_of_files_decide_nothing(make_run: MakeRun, root: Path) -> None:
    for seed in range(2):
        whole(make_run, "base", seed, 2.0, fingerprints={**PLATFORM, "code": "f" * 32})
        whole(make_run, "base", seed + 2, 3.0)

    def shown() -> str:
        rows = [Expected("base", arm("base"), True)]
        return json.dumps(asdict(compare(root, "study", rows)), default=str)

    before = shown()
    for when, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, (4e9 - when, 4e9 - when))
    assert shown() == before
