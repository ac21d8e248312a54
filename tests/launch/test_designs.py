"""A designed experiment is planned, matched, trained and compared as any other, and its effects come from its rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lllm.config import load_experiment
from lllm.launch.now import expected_rows
from lllm.launch.plan import rule_of
from lllm.results.compare import compare
from lllm.results.effects import effects_text
from tests.launch.helpers import TINY, Place, todo

STACK = """\
design: full_factorial
stack:
  wide: {model.width: 24}
  slow: {train.lr: 1e-4}
"""
LISTED = """\
variants:
  base: {}
  both: {model.width: 24, train.lr: 1e-4}
"""


def test_a_combination_is_the_variant_that_one_would_have_written(place: Place) -> None:
    place.write(TINY + LISTED)
    listed = place.arms()[0]
    place.write(TINY + STACK)
    designed = place.arms()[0]
    assert designed.arm("none").identity == listed.arm("base").identity
    assert designed.arm("wide_slow").identity == listed.arm("both").identity


def test_variants_of_a_design_are_matched_to_its_baseline(place: Place) -> None:
    place.write(TINY + STACK + "match: {params: 5%}\nbaseline: wide\n")
    plan = place.plan()
    sizes = {run.arm.variant: run.arm.parameters for run in plan.runs}
    assert list(sizes) == ["none", "wide", "slow", "wide_slow"]
    assert all(abs(size / sizes["wide"] - 1) <= 0.05 for size in sizes.values())
    assert [run.arm.matched != "" for run in plan.runs] == [True, False, True, True]
    place.write(TINY + STACK + "match: {params: 5%}\n")
    overridden = place.plan("slow", "wide_slow", "model.ffn.hidden=40")
    assert [run.why for run in overridden.runs] == ["not matched: model.ffn.hidden was given"] * 2


@pytest.mark.parametrize(
    ("changed", "words", "told"),
    [
        ("slow: {train.batch: 4}", (), "'slow' is the same arm as 'none': slow changes nothing"),
        ("slow: {train.lr: 1e-4}", ("train.lr=1e-4",), "'slow' is the same arm as 'none': slow changes nothing"),
        ("slow: {run.log_every: 3}", ("wide_slow", "wide"), "'wide_slow' is the same arm as 'wide': slow"),
    ],
)
def test_a_delta_that_changes_nothing_is_refused_before_anything_is_trained(
    place: Place, changed: str, words: tuple[str, ...], told: str
) -> None:
    place.write(TINY + STACK.replace("slow: {train.lr: 1e-4}", changed))
    code, out, err = place.lllm("run", "tiny", *words)
    assert code == 2
    assert f"tiny.yaml: stack: {told}" in err
    assert len(err.strip().splitlines()) == 1
    assert "train" not in out
    assert not list(Path().rglob("run.json"))
    if not words:
        assert len(place.plan("none", "wide").runs) == 2  # which are two arms


def test_effects_of_trained_runs(place: Place) -> None:
    place.write(TINY + STACK)
    fine, _ = place.train(place.plan(seeds=(0, 1)))
    assert fine
    assert {state for state, _ in todo(place.plan(seeds=(0, 1))).values()} == {"finished"}
    table = compare(Path("results"), "tiny", expected_rows("tiny"))
    found = table.effects
    assert found is not None
    assert [effect.factors for effect in found.effects] == [("wide",), ("slow",), ("wide", "slow")]
    means = {row.variant: math.fsum(row.values.values()) / len(row.values) for row in table.rows}
    slow = (means["slow"] + means["wide_slow"] - means["none"] - means["wide"]) / 2
    assert found.effects[1].difference == pytest.approx(slow)
    assert slow > 0  # at a tenth of the learning rate six steps learn less
    assert found.df == 3
    assert effects_text(found)[2].startswith("  main effect of slow: +")


def test_it_is_shown_and_listed(place: Place) -> None:
    place.write(TINY + STACK)
    code, out, _ = place.lllm("show", "tiny")
    assert code == 0
    assert "full_factorial: wide, slow" in out
    assert "model.width=24, train.lr=0.0001" in out
    code, out, _ = place.lllm("show", "tiny", "--json")
    assert json.loads(out)["design"] == {"full_factorial": "wide, slow"}
    code, out, _ = place.lllm("list", "variants", "tiny")
    assert (code, "wide_slow" in out) == (0, True)


def test_listed_variants_have_no_design(place: Place) -> None:
    place.write(TINY + LISTED)
    assert rule_of(load_experiment("tiny")).design is None
