"""Runs under a name: their rows, what they changed, the command that makes them, and the page of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lllm.errors import UserError
from lllm.results.committed import load_records, read_committed, write_committed
from lllm.results.compare import Comparison, publish, publish_named, tabulate_named
from lllm.results.grouping import Expected
from lllm.results.named import check_name, named, rename, words_of
from lllm.results.rule import BPB
from lllm.results.run import Run, retire
from tests.results.conftest import CONFIG, PARTS, MakeRun, arm

TEXT = "corpus={use: text, path: a b}"
ARGV = ["run", "study", "flat", TEXT, "--seeds", "0", "workers=2", "--as=frozen", "--force", "--plugin", "my=1.py"]
OTHER = {"semantic": {**CONFIG, "corpus": "b"}, "execution": {}}


def frozen(make_run: MakeRun, variant: str, seed: int, bpb: float = 2.5, **changes: Any) -> Run:
    kept = {"name": "frozen", "argv": ARGV, "config": OTHER, "identity": arm(f"{variant} b"), **changes}
    return make_run(variant, seed, bpb, **kept)


def test_a_name_has_a_page_of_its_own_and_the_files_page_is_not_touched(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 9.0)
    publish(root, "study", [Expected("flat", arm("flat"), True)])
    page = (root / "study" / "table.md").read_bytes()
    for seed in (0, 1):
        frozen(make_run, "small", seed, 2.25)
        frozen(make_run, "flat", seed)
    runs = named(load_records(root, "study"), "frozen", ["flat", "small"], "flat", BPB)
    path = publish_named(root, "study", runs)
    assert path == root / "study" / "table.frozen.md"
    assert (root / "study" / "table.md").read_bytes() == page
    made = path.read_text()
    assert made.startswith("# study as frozen\n")
    assert made.count(f"`'{TEXT}'`") == 1
    assert f"`lllm run study '{TEXT}' --plugin my=1.py --seeds 0,1 --as frozen`" in made
    rows = [line.split("|")[1].strip() for line in made.splitlines() if line.startswith("|")]
    assert rows == ["variant", ":---", "flat", "small"]
    assert [(r.label, r.seed) for r in read_committed(root, "study")].count(("frozen", 1)) == 2


def test_committed_lines_alone_give_the_same_page(make_run: MakeRun, root: Path) -> None:
    frozen(make_run, "flat", 0)
    frozen(make_run, "small", 0)
    publish_named(root, "study", named(load_records(root, "study"), "frozen", ["flat", "small"], "flat", BPB))
    page, lines = ((root / "study" / name).read_bytes() for name in ("table.frozen.md", "runs.jsonl"))
    for variant in ("flat", "small"):
        shutil.rmtree(root / "study" / variant)
    publish_named(root, "study", named(load_records(root, "study"), "frozen", ["flat", "small"], "flat", BPB))
    assert (root / "study" / "table.frozen.md").read_bytes() == page
    assert (root / "study" / "runs.jsonl").read_bytes() == lines


def test_a_name_moves_on_to_another_arm_and_no_line_is_lost(make_run: MakeRun, root: Path) -> None:
    old = frozen(make_run, "flat", 0)
    write_committed(root, "study", load_records(root, "study"))
    shutil.rmtree(old.path)
    frozen(make_run, "flat", 0, 2.0, identity=arm("flat c"))
    runs = named(load_records(root, "study"), "frozen", ["flat"], "flat", BPB)
    assert [row.arm for row in runs.rows] == [arm("flat c")]
    publish_named(root, "study", runs)
    assert {r.arm: r.label for r in read_committed(root, "study")} == {arm("flat b"): "", arm("flat c"): "frozen"}


def test_a_run_may_get_its_name_later(make_run: MakeRun, root: Path) -> None:
    run = make_run("flat", 0, argv=["run", "study"])
    (record,) = load_records(root, "study")
    renamed = rename(record, "frozen", ["flat", TEXT, "wandb=offline"])
    assert renamed.label == "frozen"
    assert words_of(renamed) == [TEXT]
    assert Run(run.path).label == "frozen"
    assert json.loads((run.path / "run.json").read_text())["arm"] == arm("flat")


def test_an_edited_part_makes_named_rows_stale(make_run: MakeRun, root: Path) -> None:
    frozen(make_run, "flat", 0)
    now = {**PARTS, "head/first": {**PARTS["head/first"], "digest": "new"}}
    found = named(load_records(root), "frozen", ["flat"], "flat", BPB, lambda record: ("f" * 32, now))
    fresh, old = tabulate_named("study", found).rows
    assert (fresh.bpb, old.bpb, old.note) == (None, 2.5, "stale: head/first changed")
    unknown = named(load_records(root), "frozen", ["flat"], "flat", BPB)
    assert tabulate_named("study", unknown).rows[0].bpb == 2.5


def tried(
    make_run: MakeRun, variant: str, *words: str, bpb: float = 2.5, results: dict[str, Any] | None = None, **train: Any
) -> Run:
    """A run called foo, at settings of its own."""
    config = {"semantic": {**CONFIG, "train": {**CONFIG["train"], **train}}, "execution": {}}
    argv, identity = ["run", "study", variant, *words, "--as", "foo"], arm(f"{variant} {sorted(train.items())}")
    return make_run(variant, 0, bpb, name="foo", argv=argv, config=config, identity=identity, results=results)


def foo(root: Path) -> Comparison:
    found = named(load_records(root, "study"), "foo", ["flat", "small"], "flat", BPB)
    return tabulate_named("study", found)


def test_the_header_says_what_all_rows_share_and_a_row_what_sets_it_apart(make_run: MakeRun, root: Path) -> None:
    tried(make_run, "flat", "train.lr=1e-3", "train.batch=8", lr=0.001, batch=8)
    tried(make_run, "small", "train.batch=8", batch=8)
    table = foo(root)
    assert table.settings == ("train.batch=8",)
    assert [(r.variant, r.note, r.delta, r.verdict.text) for r in table.rows] == [
        ("flat", "changed: train.lr=1e-3", None, "baseline"),
        ("small", "differs: train.lr=0.002", None, "not comparable: other train.lr"),
    ]
    flat, small = table.command.split(" && ")
    assert flat == "lllm run study flat train.lr=1e-3 train.batch=8 --seeds 0 --as foo"
    assert small == "lllm run study small train.batch=8 --seeds 0 --as foo"


def test_rows_of_one_variant_under_different_changes_are_apart(make_run: MakeRun, root: Path) -> None:
    tried(make_run, "flat", "train.lr=1e-3", lr=0.001)
    for words, lr, when in ((["train.lr=1e-3"], 0.001, 1), (["train.lr=5e-3"], 0.005, 2), ([], 0.002, 3)):
        tried(make_run, "small", *words, bpb=2.25, results={"finished_at": 4e9 + when}, lr=lr)
    assert [(r.variant, r.note, r.delta) for r in foo(root).rows] == [
        ("flat", "changed: train.lr=1e-3", None),
        ("small", "differs: train.lr=0.002", None),
        ("small", "changed: train.lr=1e-3", -0.25),  # as the baseline's row, which says the same
        ("small", "differs: train.lr=0.005", None),
    ]


def test_a_file_edited_between_two_runs_sets_them_apart(make_run: MakeRun, root: Path) -> None:
    tried(make_run, "flat", results={"finished_at": 4e9})
    tried(make_run, "flat", batch=4)
    tried(make_run, "small", bpb=2.0)
    flat, small, old = foo(root).rows
    assert (flat.note, small.note, small.delta) == ("", "", -0.5)
    assert (old.note, old.delta, old.verdict.text) == (
        "differs: train.batch=4",
        None,
        "not comparable: other train.batch",
    )


def test_a_run_moved_aside_is_never_a_row(make_run: MakeRun, root: Path) -> None:
    tried(make_run, "flat")
    retire(tried(make_run, "small", "train.batch=4", batch=4).path, "stale", "head/first changed")
    tried(make_run, "small")
    table = foo(root)
    assert (table.settings, [r.note for r in table.rows]) == ((), ["", ""])
    assert [row.variant for row in table.rows] == ["flat", "small"]
    publish_named(root, "study", named(load_records(root, "study"), "foo", ["flat", "small"], "flat", BPB))
    assert len(read_committed(root, "study")) == 2


def test_a_name_that_only_runs_moved_aside_have_is_none(make_run: MakeRun, root: Path) -> None:
    retire(tried(make_run, "flat").path, "stale")
    with pytest.raises(UserError, match="no run has that name"):
        foo(root)


def test_a_setting_after_json_is_no_value_of_it(make_run: MakeRun, root: Path) -> None:
    tried(make_run, "flat", "--json", "train.batch=4", batch=4)
    assert foo(root).settings == ("train.batch=4",)


def test_unknown_and_illegible_names(make_run: MakeRun, root: Path) -> None:
    frozen(make_run, "flat", 0)
    with pytest.raises(UserError, match="did you mean 'frozen'"):
        named(load_records(root), "frozne", ["flat"], "flat", BPB)
    assert check_name("v1.2-b") == "v1.2-b"
    for bad in ("", "a/b", "../x", ".hidden", "a b"):
        with pytest.raises(UserError, match="expected letters, digits"):
            check_name(bad)
