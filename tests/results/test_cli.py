"""compare, diff and list runs as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from lllm.cli import catalogue
from lllm.cli.compare import compare
from lllm.cli.diff import diff
from lllm.errors import UserError
from lllm.results import committed
from lllm.results.compare import Expected
from lllm.results.run import retire
from tests.results.conftest import MakeRun, arm


@pytest.fixture
def call(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a verb on `root`; the experiment 'study' has two variants."""
    expected = ModuleType("lllm.launch.now")
    rows = [Expected("flat", arm("flat"), True), Expected("small", arm("small"))]

    def rows_of(name: str, plugins: list[Path], results: Path) -> list[Expected]:
        if name == "unknown":
            raise UserError("no experiment 'unknown'")
        return rows

    expected.expected_rows = rows_of  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lllm.launch.now", expected)
    app = typer.Typer()
    app.command("compare")(compare)
    app.command("diff")(diff)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--results", str(root)])

    return run


def test_compare_prints_and_writes(make_run: MakeRun, root: Path, call: Any) -> None:
    make_run("flat", 0)
    make_run("small", 0, 2.25)
    make_run("small", 0, 2.0, identity=arm("other"))
    assert "-0.2500" in call("compare", "study").stdout
    assert not (root / "study" / "runs.jsonl").exists()
    done = call("compare", "study", "--commit")
    assert done.exit_code == 0
    assert "-0.2500" in done.stdout
    assert f"written: {root / 'study' / 'table.md'}" in done.stdout
    assert len((root / "study" / "runs.jsonl").read_text().splitlines()) == 2
    page = (root / "study" / "table.md").read_text()
    assert f"small (arm {arm('other')[:8]})" in call("compare", "study", "--all", "--commit").stdout
    assert (root / "study" / "table.md").read_text() == page  # whatever is shown, the page has the file's rows
    (shown,) = json.loads(call("compare", "experiments/study.yaml", "--json").stdout)
    assert [row["bpb"] for row in shown["rows"]] == [2.5, 2.25]


def test_compare_without_runs_writes_nothing(root: Path, call: Any) -> None:
    done = call("compare", "study", "--commit")
    assert done.exit_code == 0
    assert "no verdict: no finished run" in done.stdout
    assert not root.exists()


@pytest.mark.parametrize("wrong", [["study", "unknown"], ["study", "--columns", "x"], ["study", "--sort", "x"]])
def test_nothing_is_written_where_something_is_unknown(
    make_run: MakeRun, root: Path, call: Any, wrong: list[str]
) -> None:
    make_run("flat", 0)
    before = sorted(root.rglob("*"))
    assert isinstance(call("compare", *wrong, "--commit").exception, UserError)
    assert sorted(root.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_said_below_the_table(
    make_run: MakeRun, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run("flat", 0)

    def refuse(path: Path, data: bytes) -> None:
        raise UserError(f"{path}: cannot be written")

    monkeypatch.setattr(committed, "write_changed", refuse)
    done = call("compare", "study", "--commit")
    assert "2.5000" in done.stdout
    assert isinstance(done.exception, UserError)
    assert call("compare", "study").exit_code == 0


def test_diff_prints_what_differs(make_run: MakeRun, call: Any) -> None:
    make_run("flat", 0)
    make_run("flat", 1, 2.25)
    done = call("diff", "flat/s0", "flat/s1", "--docs", "--curves")
    assert done.exit_code == 0
    for said in (
        "seed  0  1",
        "bpb   2.5  2.25",
        "b is better on 24, worse on 0",
        "they part at step 1",
        "loss at step 4",
    ):
        assert " ".join(said.split()) in " ".join(done.stdout.split())
    found = json.loads(call("diff", "flat/s0", "flat/s1", "--json").stdout)
    assert set(found["sections"]) == {"run", "result"}
    same = call("diff", "flat/s0", "flat/s0", "--curves")
    assert "nothing differs" in same.stdout
    assert "bit for bit the same" in same.stdout
    assert isinstance(call("diff", "flat", "flat/s1").exception, UserError)


def test_list_runs(
    make_run: MakeRun, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue.list_("runs", results=root)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no runs below" in captured.err
    run = make_run("flat", 0, name="mine")
    make_run("small", 0, bpb=None)
    catalogue.list_("runs", results=root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [run.name, "finished", "2.5000", "mine"]
    assert lines[2].split()[1] == "empty"
    catalogue.list_("runs", results=root, as_json=True)
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["run"], first["bpb"], first["config.train.lr"]) == (run.name, 2.5, 0.002)
    retire(run.path, "stale", "ffn/swiglu changed")
    retire(make_run("flat", 0).path, "forced")
    catalogue.list_("runs", results=root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [f"{run.name}.forced", "finished", "2.5000", "set", "aside:", "forced"]
    assert lines[2].split()[2:] == ["2.5000", "mine", "set", "aside:", "ffn/swiglu", "changed"]
    monkeypatch.setattr(catalogue, "_LONG", 1)
    catalogue.list_("runs", results=root)
    assert capsys.readouterr().out.splitlines() == lines


def test_nothing_here_imports_torch() -> None:
    code = """
import importlib, pkgutil, sys
import lllm.results, lllm.cli.compare, lllm.cli.diff, lllm.cli.catalogue
for module in pkgutil.iter_modules(lllm.results.__path__):
    importlib.import_module(f"lllm.results.{module.name}")
print(sorted({"torch", "numpy", "scipy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
