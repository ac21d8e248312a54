"""The plan fits the terminal; what is suggested can be run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lllm.cli.plan import plan_facts, print_next, print_plan
from lllm.config import load_experiment
from lllm.config.tree import Tree
from lllm.launch.arms import Arms
from lllm.launch.plan import Plan, expected, make_plan
from lllm.registry import load_registry
from lllm.results.find import find_run


@pytest.fixture
def plan(inside: Path) -> Plan:
    """Of two finished runs and two that are not."""
    arms = Arms(load_experiment("tiny"), Tree(), load_registry())
    return make_plan(arms, ["flat", "four"], [0, 7])


@pytest.mark.parametrize(("width", "absent"), [(80, ["arm", "FLOPs/byte"]), (140, [])])
def test_no_cell_is_cut(
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    absent: list[str],
) -> None:
    first, *rest = plan.runs
    long = replace(first, todo="train anew", why="stale: registry/mixers/something_long.py changed")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    changed = replace(plan, runs=(long, *rest))
    print_plan(changed, plan_facts(changed)["plan"])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    table = [line for line in shown.splitlines() if line.strip() and "  " in line]
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, table)) <= width
    headers = table[0].split()
    assert not [name for name in absent if name in headers]
    assert [name for name in ("run", "steps", "about", "note") if name not in headers] == []
    assert width < 140 or "FLOPs/byte" in headers
    assert any("train anew" in line and "14.0 k" in line for line in table)


def test_suggestions_are_of_finished_runs_and_aligned(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    print_next(plan, ["train.lr=1e-3"])
    _, *lines = capsys.readouterr().out.splitlines()
    assert len({line.index("  # ") for line in lines}) == 1
    assert lines[0].startswith("  lllm run tiny train.lr=1e-3 --seeds 0,1,2")
    name = lines[1].split()[2]
    assert find_run(plan.results, name).finished
    print_next(replace(plan, runs=plan.runs[2:]))  # not finished
    assert "generate" not in capsys.readouterr().out


def test_another_results_directory_is_named(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.symlink_to(Path("results").resolve())
    runs = tuple(replace(run, path=elsewhere / run.path.relative_to(plan.results)) for run in plan.runs)
    print_next(replace(plan, results=elsewhere, runs=runs))
    assert f"--results '{elsewhere}'" in capsys.readouterr().out


def test_a_table_is_told_which_parts_there_are_now(inside: Path) -> None:
    arms = Arms(load_experiment("tiny"), Tree(), load_registry())
    (row,) = expected(arms, ["four"], [0])
    recorded = find_run(Path("results"), "tiny/four/s0").info["parts"]
    assert row.parts == {name: {"digest": p["digest"], "version": p["version"]} for name, p in recorded.items()}
