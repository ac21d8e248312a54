"""What rows share of the command line, and what sets one apart."""

from __future__ import annotations

from typing import Any

from lllm.results.changes import Label, Made, label, shared, without_repeats

HEAD = {"use": "deep", "depth": 4}
BASE: dict[str, Any] = {"model": {"width": 16, "head": HEAD}, "train": {"lr": None, "batch": 4}}


def made(*words: str, **model: Any) -> Made:
    return Made({**BASE, "model": {**BASE["model"], **model}}, words)


def test_words_that_do_the_same_are_shared_however_they_are_typed() -> None:
    every = [made("train.batch=4", "model.width=16"), made("train={batch: 4}"), made("train.batch=0x4")]
    assert shared(every) == ("train.batch=4",)
    assert shared([made("model.width=8", width=8), made("model.width=32", width=32)]) == ()
    assert shared([made("budget={flops: x}")]) == ("budget={flops: x}",)


def test_a_text_that_means_another_thing_for_each_variant_is_shared() -> None:
    every = [made("model.head={depth: 2}", head={"use": "a", "depth": 2}), made("model.head={depth: 2}", head="b")]
    assert shared(every) == ("model.head={depth: 2}",)


def test_of_words_for_one_place_the_first_is_kept() -> None:
    words = ("model.head=a", "train.lr=1e-3", "train={lr: 0.001}", "model.head={use: a}", "train.batch=2")
    assert without_repeats(words) == ("model.head=a", "train.lr=1e-3", "train.batch=2")


def test_what_variants_define_is_no_difference() -> None:
    other = made(head={"use": "flat"})
    assert label(other, made(), other, (), "ab") == Label()


def test_a_mapping_compares_what_is_in_it_alone() -> None:
    other = made("model={width: 8}", width=8, head={"use": "flat"})
    assert label(other, made(), other, (), "ab") == Label("differs: model.width=8", "other model.width")


def test_a_place_that_one_side_lacks_is_compared_with_what_holds_it() -> None:
    baseline, other = made("model.head.depth=4"), made(head={"use": "flat"})
    assert label(other, baseline, other, (), "ab") == Label("differs: model.head=flat", "other model.head")
    assert label(baseline, baseline, baseline, (), "ab") == Label("changed: model.head.depth=4")


def test_without_a_baseline_a_row_says_its_changes() -> None:
    other = made("train.batch=4", "model.width=8", width=8)
    assert label(other, None, other, ("train.batch=4",), "ab") == Label("changed: model.width=8")


def test_an_arm_that_differs_in_nothing_visible_is_named() -> None:
    assert label(made(), made(), made(), (), "ab") == Label("arm ab", "another arm")


def test_a_word_that_is_unknown_now_is_still_a_change() -> None:
    other = made("gone.key=1")
    assert label(other, made(), other, (), "ab") == Label("changed: gone.key=1")
