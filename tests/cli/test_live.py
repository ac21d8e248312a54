"""The live table is whole on narrow terminals and on wide ones."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lllm.cli import live

RUNS = [SimpleNamespace(name=name, todo="train") for name in ("flat/s0", "local_ar_long/s0")]


def drawn(width: int) -> str:
    plan: Any = SimpleNamespace(pending=RUNS)
    table = live._Table(plan)
    table.console = Console(file=io.StringIO(), width=width, force_terminal=False)
    first: Any = RUNS[0]
    table.started(first, 12000)
    table.record(first, {"step": 1, "loss": 2.5, "bytes_per_second": 45_100.0, "memory": 1.3e9})
    table.record(first, {"step": 11000, "loss": 1.875, "bpb": 2.125})
    with table.console.capture() as captured:
        table.console.print(table.render())
    return captured.get()


@pytest.mark.parametrize(
    ("width", "headers"),
    [
        (60, ["run", "state", "step", "bpb", "left"]),
        (80, ["run", "state", "step", "bpb", "bytes/s", "left"]),
        (140, ["run", "state", "step", "bpb", "loss", "bytes/s", "memory", "left"]),
    ],
)
def test_no_cell_is_cut(width: int, headers: list[str]) -> None:
    shown = drawn(width)
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, shown.splitlines())) <= width
    lines = [line.split() for line in shown.splitlines() if line.strip()]
    assert lines[0] == headers
    (flat,) = [line for line in lines if line[0] == "flat/s0"]
    for cell in ("training", "11000/12000", "2.125"):
        assert cell in flat
    assert "local_ar_long/s0" in shown
    assert width < 80 or "45.1 kB/s" in shown


def test_a_run_that_continues_claims_no_step_before_it_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    run: Any = SimpleNamespace(name="flat/s0", todo="continue")
    plan: Any = SimpleNamespace(pending=[run])
    lines = live._Lines(plan)
    lines.started(run, 200)
    lines.record(run, {"step": 120, "loss": 1.5})
    lines.ended(run, "interrupted")
    assert [line.split(", loss")[0] for line in capsys.readouterr().err.splitlines()] == [
        "flat/s0: continuing",
        "flat/s0: interrupted, step 120/200",
    ]
