"""Effects below the table of a designed experiment: which rows they come from, what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lllm.results.effects import effects_markdown, effects_of, effects_text
from lllm.results.rows import Row
from lllm.results.rule import Design, Rule
from lllm.results.statistics.factorial import factorial
from lllm.results.statistics.family import compare_all

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
    return [row(variant, runs) for variant, runs in values.items()]


def test_without_a_design_there_are_none() -> None:
    assert effects_of(rows(CELLS), None, Rule()) is None


def test_a_full_factorials_effects_are_those_of_its_cells() -> None:
    found = effects_of(rows(CELLS), FACTORIAL, Rule(level=0.9))
    assert found is not None
    plain = factorial(CELLS, FACTORIAL.of, FACTORIAL.factors, 0.9)
    assert [e.name for e in found.effects] == ["main effect of a", "main effect of b", "interaction a x b"]
    assert [(e.difference, e.half, e.p) for e in found.effects] == [(e.difference, e.half, e.p) for e in plain.effects]
    assert (found.reason, found.sd, found.df, found.level) == ("", plain.sd, plain.df, 0.9)
    assert found.effects[0].difference == pytest.approx((2.42 + 2.42 + 2.40 + 2.39 + 2.43 + 2.41) / 6 - 15.08 / 6)


def test_what_is_printed_and_written() -> None:
    found = effects_of(rows(CELLS), FACTORIAL, Rule())
    assert found is not None
    a, b, both = found.effects
    heading, *lines = effects_text(found)
    assert heading.startswith("full factorial: effects on average over the other deltas")
    assert f"0.95 confidence of 3 at once, sd {found.sd:.4g}, 6 df" in heading
    assert lines[0] == f"  main effect of a: -0.1017 ± {a.half:.4f} bpb"
    assert lines[1] == f"  main effect of b: -0.0017 ± {b.half:.4f} bpb, not told from none"
    written = effects_markdown(found)
    assert written[2:4] == ["| effect | Δ bpb | ± | p |", "|---|---:|---:|---:|"]
    assert written[4] == f"| main effect of a | -0.1017 | {a.half:.4f} | {a.p:.3g} |"
    assert len(written) == 4 + 3
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["effects"][2] == {
        "name": "interaction a x b",
        "factors": ["a", "b"],
        "difference": both.difference,
        "half": both.half,
        "p": both.p,
        "note": "",
    }


@pytest.mark.parametrize(("design", "names"), [(LEFT_OUT, ["without a", "without b"]), (ADDED, ["with a", "with b"])])
def test_one_by_one_the_effects_are_the_rows_differences(design: Design, names: list[str]) -> None:
    values = dict(zip(design.of, CELLS.values(), strict=False))
    found = effects_of(rows(values), design, Rule())
    family = compare_all(values, next(iter(design.of)))
    assert found is not None
    assert family is not None
    assert [effect.name for effect in found.effects] == names
    assert [effect.factors for effect in found.effects] == [("a",), ("b",)]
    for effect, one in zip(found.effects, family.comparisons.values(), strict=True):
        assert (effect.difference, effect.half, effect.p) == (one.difference, one.half, one.p)
    assert effects_text(found)[1].startswith(f"  {names[0]}: -0.1000 ± ")


def test_another_baseline_changes_no_effect() -> None:
    plain, other = rows(CELLS), rows(CELLS)
    other[1] = replace(other[1], baseline=True)
    plain[0] = replace(plain[0], baseline=True)
    assert effects_of(plain, FACTORIAL, Rule()) == effects_of(other, FACTORIAL, Rule())


def test_stale_rows_and_rows_of_other_arms_are_passed_over() -> None:
    more = [
        row("none", {0: 9.0, 1: 9.0}, stale=True),
        *rows(CELLS),
        row("a", {0: 9.0, 1: 9.0}, other=True),
        row("unheard", {0: 9.0, 1: 9.0}),
    ]
    assert effects_of(more, FACTORIAL, Rule()) == effects_of(rows(CELLS), FACTORIAL, Rule())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"values": {}}, "a_b has no finished run"),
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
    table = rows(CELLS)
    table[3] = replace(table[3], **changed)  # type: ignore[arg-type]
    found = effects_of(table, FACTORIAL, Rule())
    assert found is not None
    assert (found.effects, found.reason) == ((), reason)
    assert effects_text(found) == [f"no effects of the full factorial: {reason}"]
    assert effects_markdown(found) == [f"No effects of the full factorial: {reason}."]


def test_before_any_run_it_is_said_once() -> None:
    found = effects_of(rows({variant: {} for variant in CELLS}), FACTORIAL, Rule())
    assert found is not None
    assert found.reason == "none has no finished run, and so for 3 more"


def test_one_by_one_what_is_there_is_told() -> None:
    values: Values = {"full": CELLS["none"], "without_a": CELLS["a"], "without_b": {}}
    found = effects_of(rows(values), LEFT_OUT, Rule())
    assert found is not None
    with_interval, without = found.effects
    assert with_interval.half is not None
    assert (without.difference, without.note) == (None, "without_b has no finished run")
    assert effects_text(found)[2] == "  without b: without_b has no finished run"
    assert effects_markdown(found)[5] == "| without b (without_b has no finished run) |  |  |  |"
    unpaired = effects_of(rows({**values, "without_b": {9: 2.0}}), LEFT_OUT, Rule())
    assert unpaired is not None
    assert unpaired.effects[1].note == "without_b shares no seed with full"
    alone = effects_of(rows({**values, "full": {}}), LEFT_OUT, Rule())
    assert alone is not None
    assert alone.reason == "full has no finished run"


@pytest.mark.parametrize("design", [FACTORIAL, LEFT_OUT])
def test_one_seed_has_no_interval(design: Design) -> None:
    values = {variant: {0: runs[0]} for variant, runs in zip(design.of, CELLS.values(), strict=False)}
    found = effects_of(rows(values), design, Rule(metric="accuracy"))
    assert found is not None
    assert [effect.half for effect in found.effects] == [None] * len(found.effects)
    assert effects_text(found)[1].endswith("accuracy (no interval: too few runs to estimate their spread)")
    assert "±" not in effects_text(found)[0]
