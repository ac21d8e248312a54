"""`lllm run --seeds-until-decided`: when it stops, what it says and refuses; by stubs and by the command itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lllm.cli.sequential import Look, seeds_until, until_decided
from lllm.config import Experiment
from lllm.launch.plan import Plan
from lllm.results.rows import Comparison, FamilyFacts, Interval, Row, Verdict, Word
from lllm.results.rule import Rule
from lllm.results.statistics.sequential import look_level
from tests.cli.conftest import EXPERIMENT, Done, Verb, project

VARIANTS = ("base", "one", "two")
Said = tuple[Word, float, float | None]  # verdict, difference, half width


def stub(seeds: Sequence[int], done: frozenset[str] = frozenset()) -> Plan:
    """Runs that are finished at once; those in `done` are already."""
    runs = []
    for seed in seeds:
        for variant in VARIANTS:
            name = f"{variant}/s{seed}"
            todo = "finished" if name in done else "train"
            run = SimpleNamespace(arm=SimpleNamespace(variant=variant), seed=seed, name=name, todo=todo)
            run.pending, run.path = todo == "train", Path("nowhere")
            runs.append(run)
    return Plan(cast(Experiment, SimpleNamespace(baseline="base")), tuple(cast(Any, runs)), Path("nowhere"))


class Bench:
    """Trains by noting it, and judges as it is told, look by look."""

    def __init__(self, *looks: dict[str, Said], failing: str = "") -> None:
        self.looks, self.failing = list(looks), failing
        self.trained: list[str] = []
        self.judged: list[list[int]] = []

    def train(self, plan: Plan) -> bool:
        for run in plan.runs:
            self.trained.append(run.name)
            if run.name != self.failing:
                cast(Any, run).todo = "finished"
        return self.failing not in [run.name for run in plan.runs]

    def judge(self, seeds: Sequence[int]) -> Comparison:
        self.judged.append(list(seeds))
        said = self.looks[len(self.judged) - 1]
        rows = [Row("base", "a", baseline=True, verdict=Verdict("baseline", "baseline"))]
        for variant, (word, difference, half) in said.items():
            interval = Interval(difference, len(seeds), half=half)
            rows.append(Row(variant, "a", interval=interval, verdict=Verdict(f"{word} because", word)))
        facts = FamilyFacts(0.01, 4, look_level(0.95, len(seeds), 5), 2)
        return Comparison("study", Rule(floor=0.02), tuple(rows), family=facts)


def looked(bench: Bench, plan: Plan, most: int = 5) -> tuple[Plan, bool, dict[str, Any]]:
    return until_decided(plan, most, 0.95, bench.train, bench.judge)


OPEN: Said = ("inconclusive", 0.03, 0.05)
BETTER: Said = ("better", -0.1, 0.05)
WITHIN: Said = ("inconclusive", 0.001, 0.015)


def test_it_goes_on_until_every_row_is_decided_or_within_the_floor(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench({"one": OPEN, "two": OPEN}, {"one": BETTER, "two": OPEN}, {"one": BETTER, "two": WITHIN})
    plan, fine, found = looked(bench, stub(range(5)))
    assert bench.judged == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]  # one seed is no look
    assert bench.trained == [f"{variant}/s{seed}" for seed in range(4) for variant in VARIANTS]
    assert {run.seed for run in plan.runs} == {0, 1, 2, 3}
    assert fine
    assert [look["level"] for look in found["looks"]] == [look_level(0.95, n, 5) for n in (2, 3, 4)]
    assert [list(look["open"]) for look in found["looks"]] == [["one", "two"], ["two"], []]
    assert found["stopped"] == "decided: one; within the floor: two"
    told = capsys.readouterr().out
    assert "alpha spending" in told
    assert f"look with 3 of at most 5 seeds, intervals at level {look_level(0.95, 3, 5):.4%}" in told
    assert "one: decided: better because, -0.1000 ± 0.0500" in told
    assert "stopped after 4 seeds: decided: one; within the floor: two" in told


def test_it_stops_at_the_most_and_names_what_is_open() -> None:
    bench = Bench({"one": BETTER, "two": OPEN}, {"one": BETTER, "two": OPEN})
    _, fine, found = looked(bench, stub(range(3)), 3)
    assert (fine, found["stopped"]) == (True, "3 seeds were the most; still open: two")


def test_what_no_seed_can_decide_is_not_waited_for() -> None:
    bench = Bench({"one": ("not comparable", 0.0, None), "two": ("none", 0.0, None)})
    _, _, found = looked(bench, stub(range(5)))
    assert found["stopped"] == "never to be decided: one, two"
    assert bench.judged == [[0, 1]]


def test_a_wide_interval_around_nothing_is_not_within_the_floor() -> None:
    bench = Bench({"one": ("inconclusive", 0.001, 0.5)}, {"one": WITHIN})
    _, _, found = looked(bench, stub(range(5)))
    assert len(found["looks"]) == 2


def test_a_failed_run_ends_it_without_a_look_at_that_seed() -> None:
    bench = Bench({"one": OPEN, "two": OPEN}, failing="two/s2")
    plan, fine, found = looked(bench, stub(range(5)))
    assert not fine
    assert found["stopped"] == "not finished: two/s2 (empty)"
    assert bench.judged == [[0, 1]]
    assert {run.seed for run in plan.runs} == {0, 1, 2}


def test_finished_seeds_are_looked_at_again_in_their_order_and_not_trained() -> None:
    done = frozenset(f"{variant}/s{seed}" for seed in range(2) for variant in VARIANTS)
    bench = Bench({"one": OPEN}, {"one": BETTER})
    looked(bench, stub(range(5), done))
    assert bench.trained == ["base/s2", "one/s2", "two/s2"]
    assert bench.judged == [[0, 1], [0, 1, 2]]


@pytest.mark.parametrize(
    ("own", "most", "expected"),
    [((0,), 4, [0, 1, 2, 3]), ((7, 3), 4, [3, 7, 8, 9]), ((0, 1, 2, 3), 2, [0, 1])],
)
def test_the_experiments_own_seeds_come_first(own: tuple[int, ...], most: int, expected: list[int]) -> None:
    assert seeds_until(cast(Experiment, SimpleNamespace(seeds=own)), most) == expected


def test_a_look_is_done_when_nothing_is_open() -> None:
    assert Look(2, 0.99, {"one": "better"}, {}, {}, {}).done
    assert not Look(2, 0.99, {"one": "better"}, {}, {}, {"two": ""}).done


PLANTED = EXPERIMENT.replace("budget: {steps: 4}", "budget: {steps: 20}").replace(
    "  four: {model.head: parallel}\n", "  idle: {model.head: parallel, train.lr: 1e-9}\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose second variant does not learn, and so is worse for sure."""
    project(tmp_path)
    (tmp_path / "experiments" / "tiny.yaml").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Loop = Callable[..., Done]


@pytest.fixture
def loop(verb: Verb, folder: Path) -> Loop:
    return lambda most, *more: verb("run", "tiny", "--seeds-until-decided", most, *more)


def trained(folder: Path) -> dict[str, int]:
    """variant -> runs."""
    return {v: len(list((folder / "results" / "tiny" / v).glob("*/s?/result.json"))) for v in ("flat", "idle")}


def test_a_planted_difference_is_found_and_the_looks_are_recorded(loop: Loop, verb: Verb, folder: Path) -> None:
    found = json.loads(loop("6", "--json").out)
    assert found["stopped"] == "decided: idle"
    n = len(found["looks"]) + 1
    assert trained(folder) == {"flat": n, "idle": n}
    assert n < 6
    for file in (folder / "results" / "tiny").rglob("run.json"):
        assert json.loads(file.read_text())["looks"] == {"most": 6}
    assert {run["state"] for run in found["runs"]} == {"finished"}
    (row,) = [row for row in found["comparison"]["rows"] if row["variant"] == "idle"]
    assert row["verdict"]["word"] == "worse"
    (compared,) = json.loads(verb("compare", "tiny", "--json").out)
    assert compared["family"]["level"] == pytest.approx(look_level(0.95, n, 6))
    again = loop("6")
    assert "0 to train" not in again.out  # the most that may come is planned
    assert f"stopped after {n} seeds: decided: idle" in again.out
    assert trained(folder) == {"flat": n, "idle": n}


def test_an_interrupted_loop_goes_on_where_it_was(loop: Loop, folder: Path) -> None:
    whole = json.loads(loop("6", "--json").out)
    last = len(whole["looks"])
    for path in (folder / "results" / "tiny").glob(f"idle/*/s{last}"):
        shutil.rmtree(path)
    again = json.loads(loop("6", "--json").out)
    assert (again["looks"], again["stopped"]) == (whole["looks"], whole["stopped"])


def test_what_was_judged_under_another_rule_is_refused(loop: Loop, verb: Verb, folder: Path) -> None:
    assert verb("run", "tiny", "--seeds", "0,1").code == 0
    before = trained(folder)
    done = loop("6")
    assert done.code == 2
    assert "seeds 0, 1 of 'idle' and of the baseline were trained without it" in done.err
    assert trained(folder) == before
    for path in (folder / "results" / "tiny").glob("idle/*/s?"):  # to delete is not to unsee
        shutil.rmtree(path)
    assert loop("6").code == 2


def test_another_most_is_refused(loop: Loop, folder: Path) -> None:
    assert loop("5").code == 0
    done = loop("8")
    assert done.code == 2
    assert "were trained under --seeds-until-decided 5" in done.err
    assert "expected 5, or" in done.err


def test_a_single_seed_was_no_look_and_noise_of_the_baseline_neither(loop: Loop, verb: Verb, folder: Path) -> None:
    assert verb("run", "tiny").code == 0
    assert verb("noise", "tiny", "--seeds", "4").code == 0
    done = loop("5")
    assert done.code == 0, done.err
    assert "decided: idle" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds-until-decided", "1"], "one has no spread"),
        (["--seeds-until-decided", "5", "--seeds", "0,1"], "expected one of the two"),
        (["idle", "--seeds-until-decided", "5"], "nothing to decide between idle; expected the baseline 'flat'"),
        (["flat", "--seeds-until-decided", "5"], "and another variant"),
    ],
)
def test_bad_input(verb: Verb, folder: Path, arguments: list[str], said: str) -> None:
    done = verb("run", "tiny", *arguments)
    assert done.code == 2
    assert said in done.err
    assert not list(folder.rglob("run.json"))
