"""runs.jsonl: small, the same bytes for the same runs, and enough where directories are absent."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lllm.errors import UserError
from lllm.results.committed import POINTS, load_records, read_committed, thin, write_committed
from lllm.results.compare import Expected, compare, publish
from lllm.results.files import Metrics, write_json
from lllm.results.run import retire
from tests.results.conftest import FINGERPRINTS, MakeRun, arm, result

ROWS = [Expected("flat", arm("flat"), True), Expected("small", arm("small"))]


def four(make_run: MakeRun) -> None:
    for seed, bpb in enumerate((2.5, 2.52)):
        make_run("flat", seed, bpb, baseline=True)
        make_run("small", seed, bpb + 0.1)


def test_round_trip_without_directories(make_run: MakeRun, root: Path) -> None:
    four(make_run)
    before = compare(root, "study", ROWS)
    assert publish(root, "study", ROWS) == root / "study" / "table.md"
    table = (root / "study" / "table.md").read_bytes()
    lines = (root / "study" / "runs.jsonl").read_bytes()
    for variant in ("flat", "small"):
        shutil.rmtree(root / "study" / variant)
    assert compare(root, "study", ROWS) == before
    publish(root, "study", ROWS)
    assert (root / "study" / "runs.jsonl").read_bytes() == lines
    assert (root / "study" / "table.md").read_bytes() == table
    records = load_records(root)
    assert [record.state for record in records] == ["finished"] * 4
    assert records[0].path is None


def test_a_line_has_what_trains_it_again_and_nothing_of_the_machine(make_run: MakeRun, root: Path) -> None:
    run = make_run("flat", 0, 2.5, baseline=True)
    write_committed(root, "study", load_records(root, "study"))
    (line,) = (root / "study" / "runs.jsonl").read_text().splitlines()
    content = json.loads(line)
    assert content["config"] == run.info["config"]["semantic"]
    assert content["fingerprints"] == {"arm": arm("flat"), **FINGERPRINTS}
    assert content["result"] == {**result(2.5), "finished_at": load_records(root)[0].finished_at}
    assert content["curves"]["loss"] == [[1, 3.0], [2, 1.5], [3, 1.0], [4, 0.75]]
    assert content["curves"]["bpb"] == [[4, 2.5]]
    assert content["parts"]["head/first"] == {"digest": "aa", "version": 1}
    assert "somewhere" not in line
    assert "argv" not in content
    assert list(content) == sorted(content)


def test_order_and_bytes_do_not_depend_on_the_order_of_records(make_run: MakeRun, root: Path) -> None:
    four(make_run)
    records = load_records(root, "study")
    path = write_committed(root, "study", records)
    first = path.read_bytes()
    path.unlink()
    assert write_committed(root, "study", reversed(records)).read_bytes() == first


def test_a_line_is_replaced_by_its_run_and_never_dropped(make_run: MakeRun, root: Path) -> None:
    four(make_run)
    publish(root, "study", ROWS)
    shutil.rmtree(root / "study" / "small")
    run = make_run("flat", 0, 2.4, baseline=True)
    publish(root, "study", ROWS)
    bpb = {(r.variant, r.seed): (r.result or {})["bpb"] for r in read_committed(root, "study")}
    assert bpb == {("flat", 0): 2.4, ("flat", 1): 2.52, ("small", 0): 2.6, ("small", 1): 2.62}
    (run.path / "result.json").unlink()  # being trained anew: the line stays, the table says that it is missing
    publish(root, "study", ROWS)
    assert len(read_committed(root, "study")) == 4
    assert compare(root, "study", ROWS).rows[0].seeds == (1,)


def test_lines_of_runs_that_are_elsewhere_stay_byte_for_byte(make_run: MakeRun, root: Path) -> None:
    """Whatever they say that this code would not: a key of an older one, another spacing, a separator of lines."""
    four(make_run)
    path = write_committed(root, "study", load_records(root, "study"))
    first, *others = path.read_text(encoding="utf-8").splitlines()
    older = json.dumps({**json.loads(first), "blocks": {"old": [1]}, "why": "a\u2028b"}, ensure_ascii=False)
    path.write_text("".join(f"{line}\n" for line in (older, *others)), encoding="utf-8")
    shutil.rmtree(root / "study" / json.loads(first)["variant"])
    make_run("third", 0, 2.4)
    lines = write_committed(root, "study", load_records(root, "study")).read_bytes().splitlines()
    assert lines[0].decode() == older
    assert [line.decode() for line in lines[1:4]] == others
    assert len(lines) == 5


def test_of_a_run_and_its_stale_directory_the_run_is_committed(make_run: MakeRun, root: Path) -> None:
    retire(make_run("flat", 0, 9.0, fingerprints={**FINGERPRINTS, "code": "f" * 32}).path, "stale")
    make_run("flat", 0, 2.0, baseline=True)
    publish(root, "study", ROWS)
    (record,) = read_committed(root, "study")
    assert (record.result or {})["bpb"] == 2.0


def test_curves_are_thinned(make_run: MakeRun, root: Path) -> None:
    run = make_run("flat")
    with Metrics(run.path / "metrics.jsonl") as lines:
        for step in range(5, 1000):
            lines.append({"step": step, "loss": 1 / step})
    write_committed(root, "study", load_records(root, "study"))
    (record,) = read_committed(root, "study")
    loss = record.curves["loss"]
    assert len(loss) == POINTS
    assert (loss[0][0], loss[-1]) == (1, [999, 0.001001])
    assert thin(range(50)) == list(range(50))
    assert [len(set(thin(range(n)))) for n in (51, 99, 5000)] == [POINTS] * 3


def test_what_is_not_finished_is_not_committed_and_nothing_writes_nothing(make_run: MakeRun, root: Path) -> None:
    assert publish(root, "study", ROWS) is None
    assert not root.exists()
    run = make_run("flat", bpb=None)
    write_json(run.path / "status.json", {"state": "failed", "reason": "loss is NaN"})
    assert publish(root, "study", ROWS) is None
    assert sorted(path.name for path in (root / "study").iterdir()) == ["flat"]


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"variant": "a", "arm": "b", "seed": 0, "result": null}'])
def test_a_damaged_line_is_named(root: Path, line: str) -> None:
    (root / "study").mkdir(parents=True)
    (root / "study" / "runs.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"runs\.jsonl, line 1: not a"):
        load_records(root, "study")


def test_lines_that_a_union_merge_doubled_count_once(make_run: MakeRun, root: Path) -> None:
    four(make_run)
    path = write_committed(root, "study", load_records(root, "study"))
    whole = path.read_bytes()
    before = compare(root, "study", ROWS)
    for variant in ("flat", "small"):
        shutil.rmtree(root / "study" / variant)
    first, *others = whole.decode().splitlines()
    respaced = json.dumps(json.loads(others[0]), ensure_ascii=False)
    path.write_text("".join(f"{line}\n" for line in (first, *others, first, respaced)), encoding="utf-8")
    assert [record.seed for record in read_committed(root, "study")] == [0, 1, 0, 1]
    assert compare(root, "study", ROWS) == before
    assert write_committed(root, "study", load_records(root, "study")).read_bytes() == whole


def test_two_lines_that_say_different_things_of_one_run_are_named(make_run: MakeRun, root: Path) -> None:
    four(make_run)
    path = write_committed(root, "study", load_records(root, "study"))
    second = json.loads(path.read_text().splitlines()[1])
    with path.open("a") as file:
        file.write(json.dumps({**second, "result": {**second["result"], "bpb": 2.0}}) + "\n")
    before = path.read_bytes()
    for read in (read_committed, load_records, lambda *at: publish(*at, ROWS)):
        with pytest.raises(UserError, match=r"runs\.jsonl, lines 2 and 5: .*; expected one per run"):
            read(root, "study")
    assert path.read_bytes() == before


def test_git_sees_what_is_committed_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    shutil.copy(Path(__file__).parents[2] / ".gitignore", tmp_path)
    kept = ["results/study/runs.jsonl", "results/study/table.md", "results/study/table.frozen.md"]
    ignored = [
        "results/.index.json",
        "results/ledger.jsonl",
        "results/study/.match.json",
        "results/.reproduced/study/runs.jsonl",
        "results/study/flat/ab/s0/run.json",
    ]
    ignored += ["results/study/.sources/ab.py"]
    for name in [*kept, *ignored]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    command = ["git", "-C", str(tmp_path), "ls-files", "--others", "--exclude-standard", "results"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == sorted(kept)
