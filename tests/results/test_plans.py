"""What was fixed before the runs, and was changed after some of them, is told below the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lllm.results.committed import load_records
from lllm.results.compare import compare, tabulate_named
from lllm.results.footnotes import footnotes
from lllm.results.named import named
from lllm.results.rule import Rule
from tests.results.conftest import MakeRun
from tests.results.tables import BASE, SLIGHT, rows_of


def test_a_rule_that_was_changed_and_seeds_that_were_added_are_said(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        planned = [0, 1] if seed < 2 else [0, 1, 2]
        make_run("base", seed, BASE[seed], rule={**Rule().written(), "floor": 0.02}, planned=planned)
        make_run("good", seed, BASE[seed] - 0.1 + SLIGHT[seed], rule=Rule().written(), planned=planned)
    notes = footnotes(compare(root, "study", rows_of("base", "good")))
    assert "The rule was changed: 3 of these runs were begun under floor=0.02." in notes
    assert "Seed 2 was added to others: intervals take their number as fixed before any was looked at." in notes


@pytest.mark.parametrize(
    ("planned", "added"),
    [
        (([0, 1, 2, 3],) * 4, ""),
        (([0], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]), ""),  # one seed judges nothing
        (([0, 1],) * 2 + ([0, 1, 2, 3],) * 2, "2, 3"),
        (([0], [1], [2], [3]), "2, 3"),
        (([0, 1, 2],) * 3 + ([3],), "3"),
    ],
)
@pytest.mark.parametrize("label", [None, "mine"])
def test_seeds_are_fixed_when_the_first_ones_begin(
    make_run: MakeRun, root: Path, planned: tuple[list[int], ...], added: str, label: str | None
) -> None:
    """Whatever the file asks for now, and in the table of a name as well."""
    for seed in range(4):
        make_run("base", seed, BASE[seed], planned=planned[seed], name=label)
        make_run("good", seed, BASE[seed] - 0.1 + SLIGHT[seed], planned=planned[seed], name=label)
    if label:
        found = named(load_records(root, "study"), label, ["base", "good"], "base", Rule())
        table = tabulate_named("study", found)
    else:
        table = compare(root, "study", [replace(row, seeds=(0, 1, 2, 3)) for row in rows_of("base", "good")])
    notes = [note.partition(" added to")[0] for note in footnotes(table) if " added to others" in note]
    assert notes == ([f"Seeds {added} were" if "," in added else f"Seed {added} was"] if added else [])


def test_a_seed_of_the_first_list_that_was_trained_again_was_not_added(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], planned=[0, 1, 2])
        make_run("good", seed, BASE[seed] - 0.1 + SLIGHT[seed], planned=[1, 2] if seed == 2 else [0, 1, 2])
    assert not any("added to others" in note for note in footnotes(compare(root, "study", rows_of("base", "good"))))


def test_seeds_of_the_baseline_alone_may_be_added(make_run: MakeRun, root: Path) -> None:
    """As `lllm noise` does; which row is thereby better nobody knows beforehand."""
    for seed in range(4):
        make_run("base", seed, BASE[seed], planned=[0, 1] if seed < 2 else [0, 1, 2, 3])
    for seed in range(2):
        make_run("good", seed, BASE[seed] - 0.1 + SLIGHT[seed], planned=[0, 1])
    notes = footnotes(compare(root, "study", rows_of("base", "good")))
    assert not any("added to others" in note for note in notes)
    assert any("by least squares, as not all rows have the same seeds" in note for note in notes)


def test_a_baseline_that_was_changed_is_said(make_run: MakeRun, root: Path) -> None:
    for seed in range(3):
        make_run("base", seed, BASE[seed], baseline=True)
        make_run("good", seed, BASE[seed] - 0.1 + SLIGHT[seed])
    said = "The baseline was changed: it was base when these runs were begun."
    assert said in footnotes(compare(root, "study", rows_of("good", "base")))
    assert said not in footnotes(compare(root, "study", rows_of("base", "good")))
