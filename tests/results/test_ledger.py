"""A run that was begun is not forgotten: the ledger, planned seeds, deleted runs, and what a clone is told of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lllm.errors import UserError
from lllm.results.committed import load_records, read_committed
from lllm.results.compare import compare, publish, tabulate_named
from lllm.results.files import write_json
from lllm.results.ledger import FILE, damaged_lines, enter, read_ledger, strike, struck
from lllm.results.named import named
from lllm.results.rows import Comparison
from lllm.results.rule import Rule
from lllm.results.run import Run, retire
from lllm.results.table import markdown
from tests.results.conftest import FINGERPRINTS, MakeRun, arm, info
from tests.results.tables import BASE, SLIGHT, found, rows_of, texts

ROWS = rows_of("base", "good")
ALL = [0, 1, 2, 3]


def study(make_run: MakeRun, shift: float = -0.1, **changes: Any) -> dict[str, list[Run]]:
    """A baseline and a row of four planned seeds."""
    changes = {"planned": ALL, **changes}
    runs: dict[str, list[Run]] = {"base": [], "good": []}
    for seed in ALL:
        runs["base"].append(make_run("base", seed, BASE[seed], **changes))
        runs["good"].append(make_run("good", seed, BASE[seed] + shift + SLIGHT[seed], **changes))
    return runs


def good(root: Path, **more: Any) -> str:
    return texts(compare(root, "study", ROWS, **more))["good"]


def ended(run: Run, state: str, reason: str = "") -> None:
    """The run as one that ended so, without numbers."""
    for name in ("result.json", "documents.npz"):
        (run.path / name).unlink()
    write_json(run.path / "status.json", {"state": state, "reason": reason})


ENTERING = """
import sys
from pathlib import Path
from tests.results.conftest import arm, info
from lllm.results.ledger import enter
for seed in range(40):
    enter(Path(sys.argv[1]), info(sys.argv[2], arm(sys.argv[2]), seed))
"""


def test_lines_of_processes_that_begin_runs_at_once_are_whole(root: Path) -> None:
    commands = [[sys.executable, "-c", ENTERING, str(root), variant] for variant in ("a", "b", "c")]
    for process in [subprocess.Popen(command) for command in commands]:
        assert process.wait() == 0
    lines = read_ledger(root)
    assert sorted((line["variant"], line["seed"]) for line in lines) == [(v, s) for v in "abc" for s in range(40)]
    assert damaged_lines(root) == []


def test_what_a_killed_process_left_of_a_line_harms_no_other(root: Path) -> None:
    enter(root, info("a", arm("a"), 0))
    with (root / FILE).open("ab") as file:
        file.write(b'{"experiment": "study", "vari')
    enter(root, info("a", arm("a"), 1))
    assert [line["seed"] for line in read_ledger(root)] == [0, 1]
    assert damaged_lines(root) == [2]
    with (root / FILE).open("ab") as file:
        file.write(b"[]\n\xff\n" + json.dumps({"experiment": "x", "seed": "0"}).encode())
    assert [line["seed"] for line in read_ledger(root)] == [0, 1]
    assert damaged_lines(root) == [2, 4, 5, 6]


ODD: list[dict[str, Any]] = [
    {"planned": 3},
    {"planned": ["0"]},
    {"planned": [[0]]},
    {"family": "good"},
    {"family": [1]},
    {"family": [["good"]]},
]


@pytest.mark.parametrize("odd", [*ODD, {"fingerprints": {"arm": arm("good"), "code": ["c"]}}])
def test_a_line_of_another_shape_is_damaged(make_run: MakeRun, root: Path, odd: dict[str, Any]) -> None:
    study(make_run, against=arm("base"), family=["good"])
    before = compare(root, "study", ROWS)
    line = {"experiment": "study", "variant": "good", "arm": arm("good"), "seed": 9, "against": arm("base")}
    with (root / FILE).open("a") as file:
        file.write(json.dumps({**line, "fingerprints": {"arm": arm("good")}, **odd}) + "\n")
    assert compare(root, "study", ROWS) == before
    assert damaged_lines(root) == [9]
    study(make_run, against=arm("base"))
    assert len(read_ledger(root)) == 8


@pytest.mark.parametrize("odd", ODD)
def test_a_run_or_a_committed_line_of_another_shape_is_damaged(
    make_run: MakeRun, root: Path, odd: dict[str, Any]
) -> None:
    run = study(make_run)["good"][3]
    path = publish(root, "study", ROWS)
    assert path is not None
    write_json(run.path / "run.json", {**run.info, **odd})
    assert [record.seed for record in load_records(root, "study") if record.state == "damaged"] == [3]
    assert good(root) == "no verdict: 3 of 4 planned"
    path = path.with_name("runs.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], json.dumps({**json.loads(lines[2]), **odd})]))
    with pytest.raises(UserError, match=r"runs\.jsonl, line 3: not a run"):
        compare(root, "study", ROWS)


def test_a_run_has_its_line_once_and_a_trial_none(make_run: MakeRun, root: Path) -> None:
    make_run("base", 0, planned=ALL, against=arm("base"), family=["good"])
    make_run("base", 0, planned=ALL)  # continued
    make_run("base", 1000, trial={"study": "x", "number": 0})
    (line,) = read_ledger(root)
    who = {"experiment": "study", "variant": "base", "arm": arm("base"), "seed": 0}
    kept = {"baseline": False, "planned": ALL, "against": arm("base"), "family": ["good"]}
    assert line == {**who, **kept, "fingerprints": {"arm": arm("base"), **FINGERPRINTS}, "time": line["time"]}


def test_a_run_whose_directory_was_removed_is_deleted_and_its_row_has_no_verdict(make_run: MakeRun, root: Path) -> None:
    runs = study(make_run)
    assert good(root).startswith("better")
    shutil.rmtree(runs["good"][3].path)
    table = compare(root, "study", ROWS)
    assert texts(table)["good"] == "no verdict: 3 of 4 planned"
    assert found(table, "good").unfinished == {3: "deleted"}
    assert [r.state for r in load_records(root) if r.path is None] == ["deleted"]
    make_run("good", 3, BASE[3] - 0.1 + SLIGHT[3], planned=ALL)  # trained again
    assert good(root).startswith("better")


def test_a_run_that_was_never_begun_is_not_run(make_run: MakeRun, root: Path) -> None:
    runs = study(make_run, planned=[*ALL, 4])
    table = compare(root, "study", ROWS)
    assert texts(table)["good"] == "no verdict: 4 of 5 planned"
    assert found(table, "good").unfinished == {4: "not run"}
    (root / FILE).unlink()  # a folder without a ledger: the plan of run.json
    assert texts(compare(root, "study", ROWS))["good"] == "no verdict: 4 of 5 planned"
    assert len(runs["good"]) == 4


def test_a_name_is_of_whole_arms(make_run: MakeRun, root: Path) -> None:
    """`lllm run x --seeds 1,3 --as best` after seeds 0 to 3: the two that turned out well are not the row."""
    runs = study(make_run)
    for variant in ("base", "good"):
        for seed in (1, 3):
            path = runs[variant][seed].path / "run.json"
            write_json(path, {**json.loads(path.read_text()), "name": "best"})

    def best() -> Comparison:
        return tabulate_named("study", named(load_records(root, "study"), "best", ["base", "good"], "base", Rule()))

    assert [row.seeds for row in best().rows] == [(0, 1, 2, 3)] * 2
    assert texts(best()) == texts(compare(root, "study", ROWS))
    shutil.rmtree(runs["good"][0].path)
    assert texts(best())["good"] == "no verdict: 3 of 4 planned"


@pytest.mark.parametrize("change", [{"experiment": "copy"}, {}])
def test_seeds_begun_under_another_name_count(make_run: MakeRun, root: Path, change: dict[str, str]) -> None:
    """A copy of the file, or of the variant, has the seeds of both."""
    study(make_run)
    variant = "good" if change else "best"
    for seed in (1, 3):
        make_run("base", seed, BASE[seed], planned=[1, 3], **change)
        make_run(variant, seed, BASE[seed] - 0.1 + SLIGHT[seed], planned=[1, 3], identity=arm("good"), **change)
    rows = [ROWS[0], replace(ROWS[1], variant=variant)]
    table = compare(root, change.get("experiment", "study"), rows)
    assert texts(table)[variant] == "no verdict: 2 of 4 planned"
    assert found(table, variant).unfinished == {0: "not run", 2: "not run"}


def test_a_row_at_the_seeds_where_the_baseline_is_weak_needs_the_others(make_run: MakeRun, root: Path) -> None:
    for seed in ALL:
        make_run("base", seed, BASE[seed], planned=ALL)
    for seed in (1, 3):
        make_run("good", seed, BASE[seed] - 0.1 + SLIGHT[seed], planned=[1, 3])
    assert good(root) == "no verdict: 2 of 4 planned"
    for seed in (0, 1):
        make_run("late", seed, BASE[seed] - 0.1 + SLIGHT[seed], planned=[0, 1])  # `lllm noise` added the rest
    late = compare(root, "study", rows_of("base", "late"))
    assert found(late, "late").verdict.word != "none"
    for seed in range(6):
        make_run("long", seed, 2.4, planned=list(range(6)))
    assert (
        texts(compare(root, "study", rows_of("base", "long")))["long"] == "no verdict: 4 of 6 planned of the baseline"
    )


def test_seeds_added_until_the_verdict_is_in_are_planned_one_by_one(make_run: MakeRun, root: Path) -> None:
    study(make_run, planned=None, looks={"most": 8})
    assert good(root).startswith("better")
    shutil.rmtree(root / "study" / "good" / arm("good")[:8] / "s1")
    assert good(root) == "no verdict: 3 of 4 planned"


def test_a_deleted_run_does_not_come_back_from_a_committed_line(make_run: MakeRun, root: Path) -> None:
    runs = study(make_run)
    publish(root, "study", ROWS)
    shutil.rmtree(runs["good"][3].path)
    assert good(root).startswith("better")  # its committed line stands for it, as in a clone
    (record,) = [r for r in load_records(root, "study") if r.variant == "good" and r.seed == 3]
    strike(root, record)
    assert struck(read_ledger(root)) == {("study", "good", arm("good")[:8], 3)}
    table = compare(root, "study", ROWS)
    assert (texts(table)["good"], found(table, "good").seeds) == ("no verdict: 3 of 4 planned", (0, 1, 2))
    publish(root, "study", ROWS)
    states = {(r.variant, r.seed): r.state for r in read_committed(root, "study")}
    assert states.pop(("good", 3)) == "deleted"
    assert set(states.values()) == {"finished"}


def test_a_clone_with_committed_lines_alone_has_the_same_table(make_run: MakeRun, root: Path, tmp_path: Path) -> None:
    many = [*ALL, 4, 5]
    names = ("base", "good", "shaky", "cut", "gone", "wild")
    told = {"against": arm("base"), "family": ["good", "shaky", "cut", "gone", "wild", "once"], "planned": many}
    for seed in many:
        for i, variant in enumerate(names):
            make_run(variant, seed, 2.5 + SLIGHT[(seed + i) % 4] - 0.1 * (i > 0), **told)
    run = {name: [root / "study" / name / arm(name)[:8] / f"s{seed}" for seed in many] for name in names}
    ended(Run(run["shaky"][2]), "diverged", "the loss is nan at step 3")
    ended(Run(run["cut"][1]), "interrupted")
    for path in run["wild"]:
        ended(Run(path), "diverged", "the loss is nan at step 1")
    shutil.rmtree(run["gone"][4])
    for seed in range(7):
        make_run("good", seed, 2.4, experiment="other", **{**told, "planned": list(range(7))})
    table = compare(root, "study", rows_of(*names))
    assert texts(table) == {
        "base": "baseline",
        "good": "no verdict: 6 of 7 planned",
        "shaky": "unstable: 1 of 6 diverged",
        "cut": "no verdict: 5 of 6 planned",
        "gone": "no verdict: 5 of 6 planned",
        "wild": "unstable: 6 of 6 diverged",
    }
    publish(root, "study", rows_of(*names))
    clone = tmp_path / "clone"
    (clone / "study").mkdir(parents=True)
    shutil.copy(root / "study" / "runs.jsonl", clone / "study")
    there = compare(clone, "study", rows_of(*names))
    assert markdown(there) == markdown(table)
    assert (there.rule.comparisons, there.begun, there.rows) == (6, table.begun, table.rows)
    lines = (clone / "study" / "runs.jsonl").read_bytes()
    publish(clone, "study", rows_of(*names))
    assert (clone / "study" / "runs.jsonl").read_bytes() == lines


def test_a_directory_that_made_room_for_another_is_never_a_row(make_run: MakeRun, root: Path) -> None:
    runs = study(make_run)
    retire(runs["good"][3].path, "forced")
    table = compare(root, "study", ROWS)
    assert texts(table)["good"] == "no verdict: 3 of 4 planned"
    assert found(table, "good").unfinished == {3: "not run"}  # yet: what was begun is there
    shutil.rmtree(make_run("good", 3, 2.0, planned=ALL).path)
    assert found(compare(root, "study", ROWS), "good").unfinished == {3: "deleted"}
    for run in [*runs["base"], *runs["good"][:3]]:
        retire(run.path, "stale")
    for all_runs in (False, True):
        rows = compare(root, "study", ROWS, all_runs=all_runs).rows
        assert [(row.variant, row.seeds) for row in rows] == [("base", ()), ("good", ())]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("diverged", "unstable: 1 of 4 diverged"),
        ("failed", "no verdict: 3 of 4 planned"),
        ("interrupted", "no verdict: 3 of 4 planned"),
    ],
)
def test_to_diverge_is_an_outcome_and_to_be_killed_is_none(
    make_run: MakeRun, root: Path, state: str, said: str
) -> None:
    ended(study(make_run)["good"][3], state, "the loss is nan")
    assert good(root) == said


def test_a_row_that_diverged_may_be_worse_and_never_better(make_run: MakeRun, root: Path) -> None:
    runs = study(make_run, shift=0.1)
    ended(runs["good"][3], "diverged")
    assert good(root).startswith("worse")
    for run in runs["good"][:3]:
        ended(run, "diverged")
    assert good(root) == "unstable: 4 of 4 diverged"


def test_a_seed_at_which_the_baseline_diverged_is_left_out_of_every_row(make_run: MakeRun, root: Path) -> None:
    runs = study(make_run)
    for seed in ALL[:3]:
        make_run("other", seed, BASE[seed] + 0.1 + SLIGHT[seed - 1], planned=ALL)
    ended(make_run("other", 3, 2.5, planned=ALL), "diverged")
    ended(runs["base"][3], "diverged")
    table = compare(root, "study", rows_of("base", "good", "other"))
    assert [sorted(found(table, name).values) for name in ("base", "good", "other")] == [[0, 1, 2]] * 3
    assert [found(table, name).verdict.word for name in ("good", "other")] == ["better", "worse"]
    assert "Seed 3 of the baseline diverged: left out of every comparison." in table.warnings


Begin = Callable[..., None]


@pytest.fixture
def begin(make_run: MakeRun) -> Begin:
    """Begin and finish a baseline and rows of three seeds each, as one plan against that baseline."""

    def made(*variants: str, family: tuple[str, ...] = (), shift: float = -0.1, **changes: Any) -> None:
        told = {"planned": [0, 1, 2], "against": arm("base"), "family": list(family or variants), **changes}
        for seed in range(3):
            for i, variant in enumerate(("base", *variants)):
                make_run(variant, seed, BASE[seed] + (shift + SLIGHT[(seed + i) % 4]) * (i > 0), **told)

    return made


def family_of(root: Path, *variants: str) -> int:
    rule = Rule(comparisons=len(variants), family=variants)
    table = compare(root, "study", rows_of("base", *variants, rule=rule))
    assert table.family is not None
    return table.family.comparisons


def test_the_family_is_what_was_planned_and_grows_and_does_not_shrink(begin: Begin, root: Path) -> None:
    begin("good", family=("good", "bad", "ugly"))
    assert family_of(root, "good") == 3
    assert family_of(root, "good", "late") == 4
    shutil.rmtree(root / "study")
    begin("good")
    assert family_of(root, "good") == 3


def test_comparisons_that_were_begun_elsewhere_are_told_and_verdicts_must_survive_them(
    begin: Begin, root: Path, make_run: MakeRun
) -> None:
    begin("clear", "slight", shift=-0.1)
    for seed in range(3):
        path = root / "study" / "slight" / arm("slight")[:8] / f"s{seed}"
        result = json.loads((path / "result.json").read_text())
        write_json(path / "result.json", {**result, "bpb": BASE[seed] - 0.0055 + SLIGHT[seed]})
    rows = rows_of("base", "clear", "slight", rule=Rule(floor=0.0))
    before = compare(root, "study", rows)
    assert (before.begun, before.surviving) == (2, ("clear", "slight"))
    told = {"against": arm("base"), "planned": [0]}
    for i in range(30):
        make_run(f"tried{i}", 0, 2.5, experiment="elsewhere", **told)
    make_run("same_arm", 0, 2.5, experiment="elsewhere", identity=arm("tried0"), **told)
    make_run("other_data", 0, 2.5, experiment="x", fingerprints={**FINGERPRINTS, "data": "f" * 32}, **told)
    assert compare(root, "study", rows).begun == 2  # begun after this table's last run
    begin("last", family=("clear", "slight"))
    after = compare(root, "study", rows_of("base", "clear", "slight", "last", rule=Rule(floor=0.0)))
    assert after.begun == 33
    assert "slight" not in after.surviving
    assert "clear" in after.surviving
    assert found(after, "slight").verdict.word == "better"


def test_unpaired_rows_need_all_planned_seeds_of_both(make_run: MakeRun, root: Path) -> None:
    rows = rows_of("base", "good", rule=Rule(unpaired=True))
    for seed in ALL:
        make_run("base", seed, BASE[seed], planned=ALL)
        make_run("good", seed + 4, BASE[seed] - 0.1 + SLIGHT[seed], planned=[4, 5, 6, 7])
    assert found(compare(root, "study", rows), "good").verdict.word == "better"
    shutil.rmtree(root / "study" / "base" / arm("base")[:8] / "s3")
    assert texts(compare(root, "study", rows))["good"] == "no verdict: 3 of 4 planned of the baseline"
    shutil.rmtree(root / "study" / "good" / arm("good")[:8] / "s4")
    assert texts(compare(root, "study", rows))["good"] == "no verdict: 3 of 4 planned"
