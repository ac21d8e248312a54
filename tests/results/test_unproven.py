"""No verdict without its proof: a row whose probe failed, or whose weights were never probed, is neither better nor
worse, whatever its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lllm.results.committed import load_records, write_committed
from lllm.results.compare import compare
from lllm.results.files import file_digest, write_json
from lllm.results.footnotes import footnotes
from lllm.results.probed import damaged_probe, proof_digest, read_probe, summary
from lllm.results.run import Run
from tests.results.conftest import PROBED, MakeRun
from tests.results.tables import BASE, SLIGHT, rows_of, texts

PASSED = PROBED["end"]
WHY = "token 7 of row 2 is off by +1.5 nats"
FAILED = {"passed": False, "largest": 1.5, "covered": 256, "blame": {"text": WHY}}
ROWS = rows_of("base", "row")


def tables(make_run: MakeRun, variant: str, gain: float = 0.0) -> list[Run]:
    return [make_run(variant, seed, BASE[seed] - gain + (SLIGHT[seed] if gain else 0)) for seed in range(3)]


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (None, "not probed"),
        ({"begin": PASSED}, "not probed"),
        ({"begin": PASSED, "end": FAILED}, "not causal"),
        ({"begin": FAILED, "end": PASSED}, "not causal"),
        ({"end": PASSED, "more": [PASSED, FAILED]}, "not causal"),
        ({"begin": {}, "end": {}}, "not causal"),
        ({"more": [PASSED]}, "better (untuned)"),
        ({"begin": PASSED, "end": PASSED}, "better (untuned)"),
    ],
)
def test_a_verdict_takes_a_passed_probe_of_every_run(
    make_run: MakeRun, root: Path, probe: dict[str, Any] | None, said: str
) -> None:
    tables(make_run, "base")
    path = tables(make_run, "row", 0.1)[1].path / "probe.json"
    path.unlink()
    if probe is not None:
        write_json(path, probe)
    comparison = compare(root, "study", ROWS)
    assert texts(comparison)["row"] == said
    notes = " ".join(footnotes(comparison))
    assert ("seed 1" in notes) == said.startswith("not")
    assert (WHY in notes) == (WHY in str(probe))
    write_committed(root, "study", load_records(root, "study"))
    for run in root.glob("study/*/*/s*"):
        run.rename(root.parent / f"{run.parent.name}-{run.name}")
    (root / "ledger.jsonl").unlink(missing_ok=True)
    assert texts(compare(root, "study", ROWS))["row"] == said  # in a clone, too


@pytest.mark.parametrize("seeds", [(2,), (0, 1, 2)])
def test_runs_that_their_first_probe_ended_are_not_causal(
    make_run: MakeRun, root: Path, seeds: tuple[int, ...]
) -> None:
    """The others of the arm may have finished without any: the fault is the arm's."""
    tables(make_run, "base")
    for seed in range(3):
        ends = seed in seeds
        run = make_run("row", seed, None if ends else BASE[seed] - 0.1 + SLIGHT[seed])
        if ends:
            write_json(run.path / "probe.json", {"begin": FAILED})
            write_json(run.path / "status.json", {"state": "failed", "reason": "not causal: token 7"})
    assert texts(compare(root, "study", ROWS))["row"] == "not causal"


DAMAGED: list[Any] = [
    {"end": {"passed": True, "largest": "x", "blame": 3}},
    {"end": {"passed": False, "largest": 1, "blame": 3}},
    {"end": {"passed": False, "largest": [1]}},
    {"end": {"passed": True, "largest": 10**400}},
    {"end": {"passed": True, "covered": "all"}},
    {"end": {"passed": "yes"}},
    {"end": 3},
    {"begin": [], "end": PASSED},
    {"end": PASSED, "more": 3},
    {"end": PASSED, "more": [PASSED, None, {"passed": False, "blame": {"text": []}}]},
]


@pytest.mark.parametrize("said", DAMAGED)
def test_a_damaged_record_did_not_pass_and_is_left_out(make_run: MakeRun, root: Path, said: dict[str, Any]) -> None:
    assert summary(said) == {"passed": False, "largest": None, "covered": None}
    tables(make_run, "base")
    run = tables(make_run, "row", 0.1)[1]
    assert not damaged_probe(run.path)
    write_json(run.path / "probe.json", said)
    assert texts(compare(root, "study", ROWS))["row"] == "not causal"
    assert damaged_probe(run.path)
    assert all(one == PASSED or one == [PASSED] for one in read_probe(run.path).values())


@pytest.mark.parametrize("text", ["", '{"begin": {"passed": tr', "[]", "null", "3", "\xff"])
def test_a_damaged_file_is_as_none(make_run: MakeRun, root: Path, text: str) -> None:
    tables(make_run, "base")
    run = tables(make_run, "row", 0.1)[1]
    (run.path / "probe.json").write_text(text, encoding="latin-1")
    assert read_probe(run.path) == {}
    assert damaged_probe(run.path)
    assert texts(compare(root, "study", ROWS))["row"] == "not probed"


@pytest.mark.parametrize("odd", ["x", [1], True, 10**400, None])
def test_a_committed_line_with_an_odd_probe_is_read(make_run: MakeRun, root: Path, odd: Any) -> None:
    tables(make_run, "base")
    tables(make_run, "row", 0.1)
    path = write_committed(root, "study", load_records(root, "study"))
    clone = root.parent / "clone" / "study" / path.name
    clone.parent.mkdir(parents=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["probe"]["largest"] = odd
    clone.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    table = compare(clone.parents[1], "study", ROWS)
    assert [row.deviation for row in table.rows] == [0.0, 0.0]
    assert texts(table)["row"].startswith("better")


def test_a_likelihood_that_was_not_compared_with_draws_is_said_so(make_run: MakeRun, root: Path) -> None:
    tables(make_run, "base")
    runs = tables(make_run, "row", 0.1)
    assert "draws" not in " ".join(footnotes(compare(root, "study", ROWS)))
    write_json(runs[2].path / "probe.json", {"begin": PASSED, "end": {**PASSED, "drawn": False}})
    found = compare(root, "study", ROWS)
    assert texts(found)["row"] == "better (untuned)"
    assert [note.partition(":")[0] for note in footnotes(found) if "what its head draws" in note] == ["row"]


def test_what_a_run_wrote_of_its_probe_is_not_edited(make_run: MakeRun, root: Path) -> None:
    """What `lllm probe` adds is; what is gone proves nothing, and is asked again."""
    tables(make_run, "base")
    run = tables(make_run, "row", 0.1)[1]
    path, result = run.path / "probe.json", json.loads((run.path / "result.json").read_text())
    write_json(path, {"begin": PASSED, "end": FAILED})
    digests = {name: file_digest(run.path / name) for name in ("documents.npz", "metrics.jsonl")}
    write_json(run.path / "result.json", {**result, "digests": {**digests, path.name: proof_digest(run.path)}})
    assert texts(compare(root, "study", ROWS))["row"] == "not causal"
    path.write_text(path.read_text().replace("false", "true"))
    found = compare(root, "study", ROWS)
    assert texts(found)["row"] == "no verdict: 2 of 3 planned"
    assert "edited by hand: probe.json is not what the run wrote" in " ".join(footnotes(found))
    write_json(path, {"begin": PASSED, "end": FAILED, "more": [PASSED]})
    assert texts(compare(root, "study", ROWS))["row"] == "not causal"
    path.unlink()
    assert texts(compare(root, "study", ROWS))["row"] == "not probed"


def test_nothing_is_measured_from_an_unproven_baseline(make_run: MakeRun, root: Path) -> None:
    (tables(make_run, "base")[0].path / "probe.json").unlink()
    tables(make_run, "row", 0.1)
    found = texts(compare(root, "study", ROWS))
    assert found["base"] == "baseline, not probed"
    assert found["row"] == "no verdict: the baseline is not probed"
