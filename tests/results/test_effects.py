"""Effects below the table of a designed experiment: which rows they come from, what is said of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace

import pytest

from lllm.results.effects import effects_markdown, effects_of, effects_text
from lllm.results.judging import Judged, judged
from lllm.results.rows import Effects, Row
from lllm.results.rule import Design, Rule
from lllm.results.statistics.factorial import factorial

Values = dict[str, dict[int, float]]

FACTORIAL = Design("full_factorial", ("a", "b"), {"none": (), "a": ("a",), "b": ("b",), "a_b": ("a", "b")})
LEFT_OUT = Design("leave_one_out", ("a", "b"), {"full": ("a", "b"), "without_a": ("b",), "without_b": ("a",)})
ADDED = Design("add_one_in", ("a", "b"), {"none": (), "with_a": ("a",), "with_b": ("b",)})
CELLS: Values = {
    "none": {0: 2.50, 1: 2.53, 2: 2.51},
    "a": {0: 2.40, 1: 2.42, 2: 2.42},
    "b": {0: 2.49, 1: 2.53, 2: 2.52},
    "a_b": {0: 2.39, 1: 2.43, 2: 2.41},
}


SMALL = Rule(floor=0.0005)


def row(variant: str, values: dict[int, float], **changes: object) -> Row:
    usual = Row(
        variant,
        variant,
        kind="exact",
        values=values,
        seeds=tuple(values),
        runs=tuple(f"{variant}/s{seed}" for seed in values),
        numbers={"train_bytes": 1e6, "train_flops": 1e12},
        fingerprints={"data": "d", "evaluator": "e"},
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def rows(values: Values) -> list[Row]:
    """The first one is the baseline."""
    return [row(variant, runs, baseline=i == 0) for i, (variant, runs) in enumerate(values.items())]


def table(rows: Sequence[Row], design: Design, rule: Rule = SMALL) -> tuple[Judged, Effects]:
    """The rows as the table judges them, and the effects below it."""
    rule = replace(rule, design=design, comparisons=len(design.of) - 1)
    made = judged(rows, rule, lambda row: {})
    found = effects_of(made, rule)
    assert found is not None
    return made, found


def test_without_a_design_there_are_none() -> None:
    assert effects_of(judged(rows(CELLS), SMALL, lambda row: {}), SMALL) is None


def test_a_full_factorials_effects_are_those_of_its_cells() -> None:
    _, found = table(rows(CELLS), FACTORIAL, Rule(level=0.9))
    plain = factorial(CELLS, FACTORIAL.of, FACTORIAL.factors, 0.9)
    assert [e.name for e in found.effects] == ["main effect of a", "main effect of b", "interaction a x b"]
    assert [(e.difference, e.half, e.p) for e in found.effects] == [(e.difference, e.half, e.p) for e in plain.effects]
    assert (found.reason, found.sd, found.df, found.level) == ("", plain.sd, plain.df, 0.9)
    assert found.effects[0].difference == pytest.approx((2.42 + 2.42 + 2.40 + 2.39 + 2.43 + 2.41) / 6 - 15.08 / 6)


def test_what_is_printed_and_written() -> None:
    _, found = table(rows(CELLS), FACTORIAL)
    a, b, both = found.effects
    heading, *lines = effects_text(found)
    assert heading.startswith("full factorial: effects on average over the other deltas")
    assert f"0.95 confidence of 3 at once, sd {found.sd:.4g}, 6 df" in heading
    assert lines[0] == f"  main effect of a: -0.1017 ± {a.half:.4f} bpb"
    assert lines[1] == f"  main effect of b: -0.0017 ± {b.half:.4f} bpb, not told from none"
    written = effects_markdown(found)
    assert written[2:4] == ["| effect | Δ bpb | ± | p |", "|---|---:|---:|---:|"]
    assert written[4] == f"| main effect of a | -0.1017 | {a.half:.4f} | {a.p:.3g} |"
    assert written[5].startswith("| main effect of b (not told from none) | -0.0017 | ")
    assert len(written) == 4 + 3
    plain = json.loads(json.dumps(asdict(found)))
    assert plain["effects"][2] == {
        "name": "interaction a x b",
        "factors": ["a", "b"],
        "difference": both.difference,
        "half": both.half,
        "p": both.p,
        "note": "not told from none",
    }


@pytest.mark.parametrize("design", [FACTORIAL, LEFT_OUT])
def test_a_difference_below_the_floor_is_no_effect(design: Design) -> None:
    """Clear as it is: twenty seeds that hardly differ."""
    shifts = dict(zip(design.of, (0.0, 0.002, 0.1, 0.102), strict=False))
    values = {v: {s: 2.5 + shift + 1e-5 * math.sin(7 * s + shift) for s in range(20)} for v, shift in shifts.items()}
    made, found = table(rows(values), design, Rule(floor=0.01))
    small, large = found.effects[:2]
    assert small.half is not None
    assert small.difference is not None
    assert small.half < small.difference < 0.01
    assert (small.note, large.note) == ("within the floor", "")
    assert effects_text(found)[1].endswith(" bpb, within the floor")
    assert effects_markdown(found)[4].startswith(f"| {small.name} (within the floor) | +0.0020 | ")
    assert made.rows[1].verdict.text.startswith("inconclusive: within the floor")


@pytest.mark.parametrize(("design", "names"), [(LEFT_OUT, ["without a", "without b"]), (ADDED, ["with a", "with b"])])
def test_one_by_one_the_effects_are_what_the_table_says(design: Design, names: list[str]) -> None:
    made, found = table(rows(dict(zip(design.of, CELLS.values(), strict=False))), design)
    assert [effect.name for effect in found.effects] == names
    assert [effect.factors for effect in found.effects] == [("a",), ("b",)]
    for effect, one in zip(found.effects, made.rows[1:], strict=True):
        assert one.interval is not None
        assert (effect.difference, effect.half, effect.p) == (
            one.interval.difference,
            one.interval.half,
            one.interval.p,
        )
        assert (effect.note == "") == one.verdict.decided
    assert effects_text(found)[1].startswith(f"  {names[0]}: -0.1000 ± ")
    assert "0.95 confidence of 2 at once" in effects_text(found)[0]


def test_the_family_is_the_files_whatever_has_been_run() -> None:
    made, found = table(rows({"full": CELLS["none"], "without_a": CELLS["a"], "without_b": {}}), LEFT_OUT)
    assert made.family is not None
    assert (found.comparisons, found.sd, found.df) == (2, made.family.sd, made.family.df)
    assert "confidence of 2 at once" in effects_text(found)[0]


def test_seeds_beyond_the_last_look_change_no_effect() -> None:
    """Nor do those that only the baseline has, at which no look was taken."""
    looks = [replace(one, looks=3) for one in rows(CELLS)]
    _, before = table(looks, FACTORIAL)
    more = [replace(one, values={**one.values, 3: 9.0, 4: 1.0 + i}) for i, one in enumerate(looks)]
    more[0] = replace(more[0], values={**more[0].values, -1: 7.0})
    assert table(more, FACTORIAL)[1] == before
    assert before.df == 6


def test_two_variants_of_one_arm_have_no_effects() -> None:
    for design, variant, other, told in (
        (FACTORIAL, "b", "none", "'b' is the same arm as 'none': b changes nothing"),
        (FACTORIAL, "a_b", "b", "'a_b' is the same arm as 'b': a changes nothing"),
        (FACTORIAL, "b", "a", "'b' is the same arm as 'a': a and b cannot be told apart"),
        (LEFT_OUT, "without_a", "full", "'without_a' is the same arm as 'full': a changes nothing"),
    ):
        values = dict(zip(design.of, CELLS.values(), strict=False))
        same = [replace(one, arm=other) if one.variant == variant else one for one in rows(values)]
        assert table(same, design)[1].reason == told


def test_another_baseline_changes_no_effect_of_a_full_factorial() -> None:
    other = [replace(one, baseline=one.variant == "a") for one in rows(CELLS)]
    assert table(rows(CELLS), FACTORIAL)[1] == table(other, FACTORIAL)[1]


def test_one_by_one_another_baseline_leaves_nothing_to_tell() -> None:
    values = dict(zip(LEFT_OUT.of, CELLS.values(), strict=False))
    other = [replace(one, baseline=one.variant == "without_a") for one in rows(values)]
    assert table(other, LEFT_OUT)[1].reason == "the rows are compared with without_a; expected baseline: full"


def test_stale_rows_and_rows_of_other_arms_are_passed_over() -> None:
    more = [
        row("none", {0: 9.0, 1: 9.0}, stale=True),
        *rows(CELLS),
        row("a", {0: 9.0, 1: 9.0}, other=True),
    ]
    assert table(more, FACTORIAL)[1] == table(rows(CELLS), FACTORIAL)[1]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"values": {}, "runs": ()}, "a_b has no finished run"),
        ({"values": {}}, "a_b has no bpb"),
        ({"values": {}, "kind": "none"}, "a_b is not comparable with none (no likelihood)"),
        ({"fingerprints": {"data": "x", "evaluator": "e"}}, "a_b is not comparable with none (other data)"),
        ({"kind": "bound"}, "a_b is not comparable with none (bound against exact)"),
        (
            {"numbers": {"train_bytes": 2e6, "train_flops": 2e12}},
            "a_b is not comparable with none (other budget, 2.00x the bytes, 2.00x the FLOPs)",
        ),
        ({"values": {7: 2.0, 8: 2.1}}, "a: its rows share too few seeds to be told from them"),
    ],
)
def test_a_missing_cell_or_one_that_cannot_be_compared_is_said(changed: dict[str, object], reason: str) -> None:
    cells = rows(CELLS)
    cells[3] = replace(cells[3], **changed)  # type: ignore[arg-type]
    _, found = table(cells, FACTORIAL)
    assert (found.effects, found.reason) == ((), reason)
    assert effects_text(found) == [f"no effects of the full factorial: {reason}"]
    assert effects_markdown(found) == [f"No effects of the full factorial: {reason}."]


def test_before_any_run_it_is_said_once() -> None:
    _, found = table(rows({variant: {} for variant in CELLS}), FACTORIAL)
    assert found.reason == "none has no finished run, and so for 3 more"


@pytest.mark.parametrize("design", [FACTORIAL, ADDED])
def test_without_any_likelihood_there_is_no_bpb(design: Design) -> None:
    values = dict(zip(design.of, CELLS.values(), strict=False))
    silent = [replace(one, kind="none", values={}) for one in rows(values)]
    assert table(silent, design)[1].reason.startswith("none has no bpb")


def test_one_by_one_what_is_there_is_told() -> None:
    values: Values = {"full": CELLS["none"], "without_a": CELLS["a"], "without_b": {}}
    _, found = table(rows(values), LEFT_OUT)
    with_interval, without = found.effects
    assert with_interval.half is not None
    assert (without.difference, without.note) == (None, "no verdict: no finished run")
    assert effects_text(found)[2] == "  without b: no verdict: no finished run"
    assert effects_markdown(found)[5] == "| without b (no verdict: no finished run) |  |  |  |"
    silent = rows({**values, "without_b": CELLS["b"]})
    silent[2] = replace(silent[2], kind="none", values={})
    assert table(silent, LEFT_OUT)[1].effects[1].note == "not comparable: no likelihood"
    assert table(rows(values)[:2], LEFT_OUT)[1].effects[1].note == "without_b is not in this table"
    one = table(rows({**values, "without_b": {0: 2.0}}), LEFT_OUT)[1].effects[1]
    assert (one.difference, one.half, one.note) == (-0.5, None, "no verdict: one seed")
    assert table(rows({**values, "full": {}}), LEFT_OUT)[1].reason == "full has no finished run"


@pytest.mark.parametrize(
    ("design", "said"),
    [(FACTORIAL, "no interval: a and none share fewer than two seeds"), (LEFT_OUT, "no verdict: one seed")],
)
def test_one_seed_has_no_interval(design: Design, said: str) -> None:
    values = {variant: {0: runs[0]} for variant, runs in zip(design.of, CELLS.values(), strict=False)}
    _, found = table(rows(values), design, Rule(metric="accuracy"))
    assert [effect.half for effect in found.effects] == [None] * len(found.effects)
    assert effects_text(found)[1].endswith(f" accuracy, {said}")
    assert "±" not in effects_text(found)[0]


def test_a_row_of_one_seed_leaves_no_interval_to_a_full_factorial() -> None:
    """Although the others' seeds would estimate a spread: the table has no verdict on that row."""
    _, found = table(rows({**CELLS, "a_b": {0: 2.39}}), FACTORIAL)
    assert {(e.half, e.note) for e in found.effects} == {(None, "no interval: a_b and none share fewer than two seeds")}
    assert all(effect.difference is not None for effect in found.effects)


def test_seeds_that_agree_exactly_leave_no_effect() -> None:
    exact = {variant: {0: value, 1: value} for variant, value in zip(CELLS, (2.5, 2.25, 2.5, 2.25), strict=True)}
    _, found = table(rows(exact), FACTORIAL, Rule())
    note = "all seeds agree exactly, so that their spread is not known"
    assert [effect.note for effect in found.effects] == [note, "not told from none", "not told from none"]
    _, found = table(rows(exact), FACTORIAL, Rule(floor=0.1))
    assert [effect.note for effect in found.effects] == ["", "within the floor", "within the floor"]
