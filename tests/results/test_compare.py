"""What may stand in one row, and what a row may say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lllm.results.compare import Comparison, Expected, Row, compare, publish
from lllm.results.files import write_json
from lllm.results.rule import Rule
from lllm.results.run import retire
from tests.results.conftest import CONFIG, FINGERPRINTS, PARTS, MakeRun, arm

ROWS = [Expected("flat", arm("flat"), True), Expected("small", arm("small"))]


def row(comparison: Comparison, variant: str, note: str = "") -> Row:
    (found,) = [r for r in comparison.rows if r.variant == variant and r.note.startswith(note)]
    return found


def test_means_spread_and_paired_delta(make_run: MakeRun, root: Path) -> None:
    for seed, bpb in enumerate((2.5, 2.6, 2.7)):
        make_run("flat", seed, bpb, baseline=True)
    for seed, bpb in enumerate((2.4, 2.5)):
        make_run("small", seed, bpb)
    table = compare(root, "study", ROWS)
    flat, small = table.rows
    assert (flat.bpb, flat.seeds) == (pytest.approx(2.6), (0, 1, 2))
    assert flat.verdict.text == "baseline"
    assert flat.delta is None
    assert small.delta == pytest.approx(-0.1)  # over seeds 0 and 1, not against the mean of three
    assert small.unfinished == {2: "not run"}
    assert small.verdict.text == "no verdict: all seeds agree exactly, so that their spread is not known"
    assert not any(r.verdict.decided for r in table.rows if r.baseline)
    assert flat.numbers["parameters"] == 1_310_000


def test_one_seed_gives_no_verdict(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.5)
    make_run("small", 0, 1.0)
    small = row(compare(root, "study", ROWS), "small")
    assert small.verdict.text == "no verdict: one seed"
    assert small.trials == 0


def test_seeds_without_a_partner_give_no_verdict(make_run: MakeRun, root: Path) -> None:
    for seed in (0, 1):
        make_run("flat", seed)
        make_run("small", seed + 2)
    small = row(compare(root, "study", ROWS), "small")
    assert small.delta is None
    assert small.verdict.text == "no verdict: no seed in common"


@pytest.mark.parametrize("name", ["code", "data", "evaluator"])
def test_no_row_mixes_fingerprints(make_run: MakeRun, root: Path, name: str) -> None:
    changed = {"fingerprints": {**FINGERPRINTS, name: "f" * 32}}
    if name == "code":
        changed["parts"] = {**PARTS, "head/first": {**PARTS["head/first"], "digest": "zz"}}  # type: ignore[dict-item]
    make_run("flat", 0, 2.0)
    make_run("small", 0, 2.5)
    make_run("small", 1, 1.5, **changed)
    what = "head/first" if name == "code" else name
    now = Expected("small", arm("small"), fingerprints=FINGERPRINTS)
    table = compare(root, "study", [ROWS[0], now])
    old = row(table, "small", "stale")
    fresh = next(r for r in table.rows if r.variant == "small" and not r.note)
    assert (fresh.bpb, fresh.seeds, fresh.unfinished) == (2.5, (0,), {1: "not run"})
    assert (old.bpb, old.seeds, old.stale, old.note) == (1.5, (1,), True, f"stale: {what} changed")
    assert old.delta is None
    assert old.verdict.text == "no verdict: stale"


def test_without_knowledge_of_now_the_newest_runs_are_current(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.0, fingerprints={**FINGERPRINTS, "code": "f" * 32})
    make_run("flat", 1, 2.5)
    fresh, old = compare(root, "study", ROWS[:1]).rows
    assert (fresh.seeds, fresh.stale, old.seeds, old.stale) == ((1,), False, (0,), True)


def test_when_all_runs_are_stale_the_row_is_empty(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.0)
    now = Expected("flat", arm("flat"), True, fingerprints={**FINGERPRINTS, "code": "f" * 32})
    fresh, old = compare(root, "study", [now]).rows
    assert fresh.bpb is None
    assert fresh.verdict.text == "baseline"
    assert old.note == "stale: code changed"


def test_a_run_trained_anew_counts_once(make_run: MakeRun, root: Path) -> None:
    retire(make_run("flat", 0, 9.0).path, "forced")
    make_run("flat", 0, 2.0)
    (only,) = compare(root, "study", ROWS[:1]).rows
    assert (only.bpb, only.seeds) == (2.0, (0,))


def test_a_sibling_variant_changes_no_row(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0)
    make_run("small", 0)
    before = compare(root, "study", ROWS)
    make_run("third", 0)
    after = compare(root, "study", [*ROWS, Expected("third", arm("third"))])
    assert after.rows[:2] == before.rows


def test_kinds_are_never_ranked_unlabelled(make_run: MakeRun, root: Path) -> None:
    for seed in (0, 1):
        make_run("flat", seed, 2.5)
        make_run("small", seed, 1.0, results={"kind": "bound"})
        make_run("none", seed, 1.0, results={"kind": "none", "bpb": None})
    table = compare(root, "study", [*ROWS, Expected("none", arm("none"))])
    assert row(table, "small").verdict.text == "not comparable: bound against exact"
    assert row(table, "small").delta is None
    assert row(table, "none").bpb is None
    assert row(table, "none").verdict.text == "not comparable: no likelihood"


def test_rows_of_other_data_are_not_comparable(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0)
    make_run("small", 0, fingerprints={**FINGERPRINTS, "evaluator": "f" * 32})
    small = row(compare(root, "study", ROWS), "small")
    assert (small.delta, small.verdict.text) == (None, "not comparable: other evaluator")


def other_config(**train: Any) -> dict[str, Any]:
    return {"semantic": {**CONFIG, "train": {**CONFIG["train"], **train}}, "execution": {}}


def test_other_arms_never_join_a_row(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.5)
    make_run("flat", 1, 9.0, identity=arm("override"), config=other_config(lr=0.001))
    make_run("gone", 0, 2.2)
    table = compare(root, "study", ROWS)
    assert [(r.variant, r.bpb) for r in table.rows] == [("flat", 2.5), ("small", None)]
    assert table.rows[0].unfinished == {}  # the override's seed is not one of this row's
    assert table.hidden == 2
    everything = compare(root, "study", ROWS, all_runs=True)
    assert everything.rows[:2] == table.rows
    assert [(r.variant, r.note, r.bpb) for r in everything.rows[2:]] == [
        ("flat", "differs: train.lr=0.001", 9.0),
        ("gone", "not a variant now", 2.2),
    ]
    assert everything.hidden == 0


def test_labels_of_other_arms(make_run: MakeRun, root: Path) -> None:
    head = {**CONFIG, "model": {**CONFIG["model"], "head": {"use": "second", "levels": 3}}}
    make_run("flat", 0, identity=arm("head"), config={"semantic": head, "execution": {}})
    make_run("flat", 0, identity=arm("many"), config=other_config(lr=1.0, batch=1, a=1, b=2), name="tried")
    make_run("small", 0, identity=arm("unknown"))
    known = [Expected("flat", arm("flat"), True, config=CONFIG), ROWS[1]]
    notes = {r.note for r in compare(root, "study", known, all_runs=True).rows[2:]}
    assert notes == {
        "differs: model.head=second",
        "tried (differs: train.a=1, train.b=2, train.batch=1 and 1 more)",
        f"another arm, {arm('unknown')[:8]}",
    }


def test_named_runs_are_committed_and_stay_out_of_the_rows(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0)
    make_run("flat", 0, identity=arm("named"), config=other_config(lr=1.0), name="tried")
    make_run("flat", 0, identity=arm("trial"), config=other_config(lr=2.0))
    publish(root, "study", ROWS)
    committed = (root / "study" / "runs.jsonl").read_text()
    assert arm("named") in committed
    assert arm("trial") not in committed
    rows = [line for line in (root / "study" / "table.md").read_text().splitlines() if line.startswith("|")]
    assert "tried" not in "".join(rows)


def test_missing_seeds_say_why(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0)
    failed = make_run("flat", 1, bpb=None)
    write_json(failed.path / "status.json", {"state": "failed", "reason": "loss is NaN at step 3"})
    expected = Expected("flat", arm("flat"), True, seeds=(0, 1, 2))
    (only,) = compare(root, "study", [expected]).rows
    assert only.unfinished == {1: "failed: loss is NaN at step 3", 2: "not run"}


def test_another_rule_decides(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.0, results={"seconds": 10.0})
    make_run("small", 0, 3.0, results={"seconds": 7.0})
    rule = Rule("seconds")
    rows = [Expected("flat", arm("flat"), True, rule), Expected("small", arm("small"), False, rule)]
    table = compare(root, "study", rows)
    assert (table.rule.metric, table.rows[1].delta) == ("seconds", -3.0)


def test_nothing_at_all(root: Path) -> None:
    table = compare(root, "study", ROWS)
    assert [(r.bpb, r.verdict.text) for r in table.rows] == [
        (None, "baseline"),
        (None, "no verdict: no finished run"),
    ]


def test_what_went_stale_is_named_without_a_current_run_and_told_apart(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.0)
    make_run("flat", 1, 2.1, fingerprints={**FINGERPRINTS, "code": "9" * 32})
    parts = {**PARTS, "head/first": {"digest": "aa", "version": 2}}
    now = Expected("flat", arm("flat"), True, fingerprints={**FINGERPRINTS, "code": "f" * 32}, parts=parts)
    fresh, *old = compare(root, "study", [now]).rows
    assert fresh.bpb is None
    notes = [r.note for r in old]
    assert notes[0] == "stale: head/first changed"
    assert notes[1].startswith("stale: head/first changed (code ")


def test_metrics_are_means_over_the_runs_that_have_them(make_run: MakeRun, root: Path) -> None:
    for seed, accuracy in enumerate((0.5, 1.0, None)):
        make_run("flat", seed, results={"metrics": {"recall": 0.25, "accuracy": accuracy}})
    make_run("small", 0, results={"metrics": {"only": None}})
    flat, small = compare(root, "study", ROWS).rows
    assert list(flat.metrics.items()) == [("accuracy", 0.75), ("recall", 0.25)]
    assert small.metrics == {"only": None}
    publish(root, "study", ROWS)
    shutil.rmtree(root / "study" / "flat")
    assert compare(root, "study", ROWS).rows[0].metrics == flat.metrics  # from committed lines


def test_what_is_no_likelihood_has_no_bits_per_byte(make_run: MakeRun, root: Path) -> None:
    """Not even where a result has a number under that name."""
    for seed in (0, 1):
        make_run("flat", seed, 1.0, results={"kind": "none"})
        make_run("small", seed, 2.0, results={"kind": "none"})
    flat, small = compare(root, "study", ROWS).rows
    assert (flat.bpb, flat.values) == (None, {})
    assert (flat.numbers["nats_per_byte"], flat.numbers["seconds"]) == (None, 38.25)
    assert (small.delta, small.verdict.text) == (None, "not comparable: no likelihood")


def test_a_trial_is_no_evidence_for_the_settings_that_it_chose(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, 2.5)
    make_run("flat", 1000, 2.0, trial={"study": "study/flat/tune", "number": 0})
    make_run("flat", 1000, 2.2, identity=arm("tried"), config=other_config(lr=0.004), trial={"study": "x", "number": 1})
    known = [Expected("flat", arm("flat"), True, config=CONFIG)]
    (row_of_flat,) = compare(root, "study", known).rows
    assert (row_of_flat.seeds, row_of_flat.unfinished) == ((0,), {})
    notes = [r.note for r in compare(root, "study", known, all_runs=True).rows[1:]]
    assert sorted(notes) == ["trial: as the file has it", "trial: train.lr=0.004"]
    asked = [Expected("flat", arm("flat"), True, seeds=(0, 1000), config=CONFIG)]
    (row_of_flat,) = compare(root, "study", asked).rows
    assert (row_of_flat.seeds, row_of_flat.unfinished) == ((0,), {1000: "a sweep's trial"})
