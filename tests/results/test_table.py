"""Numbers as people read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lllm.results.compare import Expected, compare, publish
from lllm.results.table import aligned, duration, footnotes, markdown, show, si, text
from tests.results.conftest import MakeRun, arm

ROWS = [Expected("flat", arm("flat"), True), Expected("small", arm("small"))]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0, "0"),
        (0.5, "0.500"),
        (812, "812"),
        (999.6, "1.00 k"),
        (45_100, "45.1 k"),
        (1_310_000, "1.31 M"),
        (12.3e6, "12.3 M"),
        (2e20, "200 E"),
        (-1500, "-1.50 k"),
    ],
)
def test_si(value: float | None, shown: str) -> None:
    assert si(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(None, "-"), (38.25, "38.2 s"), (740, "12.3 min"), (11160, "3.1 h")])
def test_duration(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_aligned() -> None:
    assert aligned(["name", "n"], [["a", "10"], ["long", "5"]], right=[1]) == "name   n\na     10\nlong   5"
    assert aligned(["name", "n"], []) == "name  n"


def test_plain_text(make_run: MakeRun, root: Path) -> None:
    for seed, bpb in enumerate((2.5, 2.51)):
        make_run("flat", seed, bpb)
    make_run("small", 0, 2.25, results={"shared_timing": True, "generation_bytes_per_second": None})
    make_run("small", 0, 2.0, identity=arm("other"))
    lines = text(compare(root, "study", ROWS)).splitlines()
    assert lines[0] == "study"
    assert lines[1].split()[:6] == ["variant", "seeds", "bpb", "nats/byte", "kind", "Δ"]
    assert " ".join(lines[2].split()) == (
        "flat 2 2.5050 1.7362 exact 1.31 M 16.4 kB 200 G 12.3 M 38.2 s 45.1 k 812 0 baseline"
    )
    assert " ".join(lines[3].split()) == (
        "small 1 of 2 2.2500 1.5595 exact -0.2500 1.31 M 16.4 kB 200 G 12.3 M 38.2 s* 45.1 k* - 0 no verdict: one seed"
    )
    assert lines[2].index("38.2 s") == lines[3].index("38.2 s*")
    notes = "\n".join(lines[4:])
    assert "*: timed while other runs shared the machine" in notes
    assert "Untuned: no row was tuned" in notes
    assert "small: 1 of 2 missing (seed 1: not run)" in notes
    assert "1 finished runs of other arms" in notes


def test_columns_without_numbers_are_left_out_but_bpb_never_is(make_run: MakeRun, root: Path) -> None:
    header = text(compare(root, "study", ROWS)).splitlines()[1].split()
    assert header == ["variant", "seeds", "bpb", "verdict"] or header == ["variant", "bpb", "verdict"]
    make_run("flat", 0, results={"generation_bytes_per_second": None})
    assert "gen." not in text(compare(root, "study", ROWS))


def test_missing_rows_are_dashes(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0)
    make_run("flat", 1)
    line = text(compare(root, "study", ROWS)).splitlines()[3]
    assert line.split()[:5] == ["small", "-", "of", "2", "-"]
    assert line.endswith("no verdict: no finished run")


def test_markdown_is_a_table_and_the_same_each_time(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0)
    make_run("small", 0, results={"kind": "a|b"})
    page = markdown(compare(root, "study", ROWS))
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    path = publish(root, "study", ROWS)
    assert path is not None
    assert path.read_text() == page
    before = path.stat()
    publish(root, "study", ROWS)
    assert path.stat() == before


def test_a_terminal_gets_the_same_cells(
    make_run: MakeRun, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("flat", 0)
    make_run("small", 0, name="[bold]odd[/bold]", identity=arm("x"))
    comparison = compare(root, "study", ROWS, all_runs=True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "260")
    show(comparison)
    shown = capsys.readouterr().out
    assert shown.count("variant") == 1
    for cell in ("study", "flat", "2.5000", "45.1 k", "no verdict: no finished run", "[bold]odd[/bold]", "Untuned"):
        assert cell in shown


def test_a_narrow_terminal_loses_no_number(
    make_run: MakeRun, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("flat", 0)
    make_run("small", 0, 2.25)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    show(compare(root, "study", ROWS))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    small = " ".join(" ".join(line.split()) for line in lines if line.strip().startswith("small"))
    assert small.startswith("small 1 2.2500 1.5595 exact -0.2500 no verdict: one seed")
    assert small.endswith("small 1.31 M 16.4 kB 200 G 12.3 M 38.2 s 45.1 k small 812 0")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("columns", [80, 100])
def test_nats_and_training_bytes_are_whole_on_any_terminal(
    make_run: MakeRun,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: int,
) -> None:
    for seed in (0, 1):
        make_run("flat", seed, results={"train_bytes": 1e6})
        make_run("small", seed, 2.25, results={"train_bytes": 3.24e6})
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    show(compare(root, "study", ROWS))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for cell in ("nats/byte", "1.7328", "trained on", "1.00 MB", "3.24 MB", "FLOPs", "200 G"):
        assert cell in shown
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, shown.splitlines())) <= columns


def test_nats_of_a_bound_are_not_shown(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, results={"kind": "bound"})
    assert "nats/byte" not in text(compare(root, "study", ROWS))


def test_notes_are_said_once(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0)
    make_run("flat", 0, identity=arm("b"))
    twice = compare(
        root, "study", [Expected("flat", arm("flat"), seeds=(0, 1)), Expected("flat", arm("b"), seeds=(0, 1))]
    )
    notes = footnotes(twice)
    assert len(notes) == len(set(notes))
    assert "flat: 1 of 2 missing (seed 1: not run)." in notes


def test_metrics_are_columns_of_their_own(make_run: MakeRun, root: Path) -> None:
    make_run("flat", 0, results={"metrics": {"recall": 0.5, "accuracy": 0.98765, "absent": None}})
    make_run("small", 0, results={"kind": "none", "bpb": None, "metrics": {"brier": 5.72}})
    lines = text(compare(root, "study", ROWS)).splitlines()
    assert lines[1].split()[:8] == ["variant", "seeds", "bpb", "nats/byte", "kind", "accuracy", "brier", "recall"]
    assert lines[2].split()[:8] == ["flat", "1", "2.5000", "1.7328", "exact", "0.9877", "-", "0.5000"]
    assert lines[3].split()[:8] == ["small", "1", "-", "-", "none", "-", "5.7200", "-"]
    assert "| accuracy | brier | recall |" in markdown(compare(root, "study", ROWS))
