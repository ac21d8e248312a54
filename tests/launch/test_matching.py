"""What is made equal to the baseline: parameters, training FLOPs per byte, the measured time of a step."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lllm.cli.plan import plan_facts, print_plan
from lllm.errors import UserError
from lllm.launch import measure
from lllm.launch.arm import Arm
from lllm.launch.matching import _following, _ratio
from lllm.launch.now import expected_rows
from lllm.launch.timing import Timings, Unmeasured
from lllm.results.compare import compare, publish
from lllm.results.run import Run
from tests.launch.helpers import TINY, Place, todo
from tests.train import toys_model

VARIANTS = """\
variants:
  flat:  {model.ratio: 1, model.downsampler: identity, model.head: {use: parallel, hidden: 16}}
  local: {}
  two:   {model.ratio: 2}
baseline: flat
"""


def arms_of(place: Place, match: str, *words: str, **options: Any) -> tuple[Any, list[Arm]]:
    place.write(TINY + VARIANTS + f"match: {match}\n")
    arms, variants = place.arms(*words, **options)
    return arms, [arms.arm(variant) for variant in variants]


# --- training FLOPs per byte ----------------------------------------------------------------------------------------


def test_training_flops_per_byte_match_at_every_ratio(place: Place) -> None:
    _, (flat, local, two) = arms_of(place, "{flops: 1%}")
    for arm in (local, two):
        assert arm.matched.startswith("model.ffn.hidden = ")
        assert abs(arm.flops_per_byte / flat.flops_per_byte - 1) <= 0.01
        assert abs(arm.parameters / flat.parameters - 1) > 0.01  # which is another match
        assert arm.steps == flat.steps
    plain = place.arms("local", "model.ffn.hidden=32")[0].arm("local")
    assert abs(plain.flops_per_byte / flat.flops_per_byte - 1) > 0.1


def test_flops_of_stages_are_paid_for_over_the_bytes_of_the_budget(place: Place) -> None:
    place.plugins = [Path(str(toys_model.__file__))]
    arm = place.arms("model.downsampler=toy_autoencoder")[0].arm("base")
    assert arm.stage_flops > 0
    total = 6 * arm.flops_per_step + arm.stage_flops
    assert arm.flops_per_byte == pytest.approx(total / (6 * arm.bytes_per_step))


def test_flops_that_cannot_be_met_say_what_was_reached(place: Place) -> None:
    place.write(TINY + "variants: {deep: {model.trunk.depth: 4}, a: {model.trunk.depth: 40}}\nmatch: {flops: 1%}\n")
    with pytest.raises(
        UserError,
        match=r"match.flops of variant 'a', turning model.ffn.hidden: no size within 1% of [\d,]+ training FLOPs per "
        r"byte; the nearest is [\d,]+ \(\+[\d.]+ of it\), at 1; sizes from 1 to 1 reach [\d,]+ to [\d,]+$",
    ):
        place.arms("a")[0].arm("a")


def test_the_plan_says_what_was_matched_and_what_each_pays(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write(TINY + VARIANTS + "match: {flops: 1%}\n")
    plan = place.plan()
    facts = plan_facts(plan)["plan"]
    print_plan(plan, facts)
    said = capsys.readouterr().out
    assert "matched to flat within 1.0%, by training FLOPs per byte: local: model.ffn.hidden = " in said
    pays = {fact["variant"]: fact["flops"] / fact["bytes"] for fact in facts}
    assert abs(pays["local"] / pays["flat"] - 1) <= 0.01
    assert [fact["timing"] for fact in facts] == [None] * 3


# --- measured time --------------------------------------------------------------------------------------------------

Clock = Callable[[float], list[str]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A machine on which a step takes 1 ms and a nanosecond per training FLOP, with a relative spread; returns the list
    of what is measured on it."""

    def install(spread: float, fixed: float = 1e-3, drift: float = 0.0) -> list[str]:
        measured: list[str] = []
        draw = random.Random(1)

        def pairs(arm: Arm, baseline: Arm, seed: int) -> Iterator[tuple[float, float]]:
            measured.append(f"{arm.variant} {arm.resolved.semantic()['model']['ffn']['hidden']}")
            level = 1 + drift * len(measured)
            for _ in itertools.count():
                yield (
                    level * (fixed + 1e-9 * arm.flops_per_step) * (1 + draw.gauss(0, spread)),
                    (fixed + 1e-9 * baseline.flops_per_step) * (1 + draw.gauss(0, spread)),
                )

        monkeypatch.setattr(measure, "pairs", pairs)
        return measured

    return install


def planned(place: Place, match: str, *words: str) -> Any:
    """A plan as `lllm run` makes it."""
    place.write(TINY + VARIANTS + f"match: {match}\n")
    return place.plan(*words, measure=lambda what: None)


def test_time_per_byte_matches_and_is_measured_once(place: Place, clock: Clock) -> None:
    measured = clock(0.01)
    plan = planned(place, "{time: 5%}")
    first = {run.arm.variant: run.arm for run in plan.runs}
    for name in ("local", "two"):
        arm = first[name]
        truth = (1e-3 + 1e-9 * arm.flops_per_step) / (1e-3 + 1e-9 * first["flat"].flops_per_step)
        assert abs(truth - 1) <= 0.05
        assert arm.timing is not None
        assert arm.timing.ratio == pytest.approx(truth, abs=0.02)
        assert arm.timing.half <= 0.05
        assert arm.matched == f"model.ffn.hidden = {arm.timing.value}"
    assert len(measured) <= 2 * 11
    before = len(measured)
    again = {run.arm.variant: run.arm.identity for run in planned(place, "{time: 5%}").runs}
    assert again == {name: arm.identity for name, arm in first.items()}
    assert len(measured) == before
    kept = json.loads(Path("results/tiny/.match.json").read_text())
    assert len(kept) == 2
    assert {len(answers) for answers in kept.values()} == {1}


def test_a_run_is_found_again(place: Place, clock: Clock) -> None:
    clock(0.01)
    plan = planned(place, "{time: 5%}", "flat", "local")
    fine, _ = place.train(plan)
    assert fine
    recorded = Run(plan.runs[1].path).info["sizes"]
    assert recorded["timing"]["value"] == int(recorded["matched"].split("=")[1])
    found = todo(planned(place, "{time: 5%}", "flat", "local"))
    assert found == {"flat/s0": ("finished", ""), "local/s0": ("finished", "")}
    table = compare(Path("results"), "tiny", expected_rows("tiny"))
    assert [(row.variant, row.seeds, dict(row.unfinished)) for row in table.rows] == [
        ("flat", (0,), {}),
        ("local", (0,), {}),
        ("two", (), {0: "not run"}),  # its size awaits a measurement
    ]
    assert publish(Path("results"), "tiny", expected_rows("tiny")) is not None


def test_the_plan_says_what_was_measured(place: Place, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    clock(0.01)
    plan = planned(place, "{time: 5%}", "flat", "local")
    facts = plan_facts(plan)["plan"]
    print_plan(plan, facts)
    said = capsys.readouterr().out
    assert "matched to flat within 5.0%, by measured time per byte:\n  local: model.ffn.hidden = " in said
    assert "steps of each in turn after 3 to warm up, on the run's batches" in said
    assert "1 threads, not compiled, torch " in said
    assert "; measured 20" in said
    for fact in facts:
        step = fact["flops"] / fact["steps"] * 1e-9 + 1e-3
        assert fact["estimated_seconds"] == pytest.approx(6 * step, rel=0.05)


def test_learning_rate_budget_and_evaluation_ask_no_other_question(place: Place, clock: Clock) -> None:
    measured = clock(0.0)
    (local,) = planned(place, "{time: 5%}", "local").runs
    before = len(measured)
    words = ["train.lr=1e-5", "train.clip=null", "train.schedule=wsd", "eval.bytes=200", "budget={steps: 9}"]
    (changed,) = planned(place, "{time: 5%}", "local", *words).runs
    assert len(measured) == before
    assert changed.arm.matched == local.arm.matched
    assert changed.arm.identity != local.arm.identity
    planned(place, "{time: 5%}", "local", "train.batch=8")
    assert len(measured) > before


def test_a_given_knob_is_not_measured(place: Place, clock: Clock) -> None:
    measured = clock(0.0)
    (run,) = planned(place, "{time: 5%}", "local", "model.ffn.hidden=20").runs
    assert (run.why, run.arm.timing, measured) == ("not matched: model.ffn.hidden was given", None, [])


def test_a_table_measures_nothing(place: Place, clock: Clock) -> None:
    measured = clock(0.0)
    place.write(TINY + VARIANTS + "match: {time: 5%}\n")
    rows = {row.variant: row.arm for row in expected_rows("tiny")}
    assert rows["flat"]
    assert (rows["local"], rows["two"], measured) == ("", "", [])
    with pytest.raises(
        Unmeasured,
        match=r"^match.time of variant 'local': not measured \(results/tiny/match.json\); expected `lllm run tiny ",
    ):
        place.arms("local")[0].arm("local")
    plan = planned(place, "{time: 5%}", "local")
    before = len(measured)
    rows = {row.variant: row.arm for row in expected_rows("tiny")}
    assert (rows["local"], rows["two"]) == (plan.runs[0].arm.identity, "")
    assert len(measured) == before


def test_a_table_takes_the_newest_answer_where_this_machine_has_none(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = clock(0.0)
    (there,) = planned(place, "{time: 5%}", "local").runs
    monkeypatch.setattr("lllm.launch.machine._cpu", lambda: "another processor")
    assert {row.variant: row.arm for row in expected_rows("tiny")}["local"] == there.arm.identity
    before = len(measured)
    (here,) = planned(place, "{time: 5%}", "local").runs  # a run is matched to the machine that it runs on
    assert len(measured) > before
    assert here.arm.timing is not None
    assert here.arm.timing.machine["device"] == "another processor"
    (answers,) = json.loads(Path("results/tiny/.match.json").read_text()).values()
    assert len(answers) == 2


def test_results_may_be_elsewhere(place: Place, clock: Clock) -> None:
    clock(0.0)
    (run,) = planned(place, "{time: 5%}", "local", "run.results=elsewhere").runs
    assert Path("elsewhere/tiny/.match.json").is_file()
    rows = {row.variant: row.arm for row in expected_rows("tiny", results=Path("elsewhere"))}
    assert rows["local"] == run.arm.identity


def test_an_edited_part_is_said(place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock(0.0)
    planned(place, "{time: 5%}", "local")
    monkeypatch.setattr("lllm.launch.arm.code_fingerprint", lambda used: ("other", {}))
    (run,) = planned(place, "{time: 5%}", "local").runs
    assert "timed before its parts changed; without results/tiny/.match.json it is timed again" in run.why


@pytest.mark.parametrize(
    ("spread", "drift", "share", "message"),
    [
        (
            0.2,
            0.0,
            "2%",
            r"times of this machine are known within [\d.]+% only, after \d+ steps of each; expected match",
        ),
        (0.0, 0.03, "2%", r"times of this machine are known within [\d.]+% only, after \d+ steps of each"),
    ],
)
def test_a_share_that_the_machine_cannot_resolve_is_refused(
    place: Place, clock: Clock, spread: float, drift: float, share: str, message: str
) -> None:
    clock(spread, drift=drift)
    with pytest.raises(UserError, match=message):
        planned(place, f"{{time: {share}}}", "local")
    assert not Path("results/tiny/.match.json").exists()


def test_a_time_that_cannot_be_met_says_what_was_reached(place: Place, clock: Clock) -> None:
    clock(0.0, fixed=0.0)
    place.write(TINY + "variants: {a: {}, deep: {model.trunk.depth: 20}}\nmatch: {time: 5%}\n")
    with pytest.raises(
        UserError,
        match=r"match.time of variant 'deep', turning model.ffn.hidden: no size takes the baseline's time per byte "
        r"within 5.0%; the nearest takes [\d.]+ times as long, at 1; sizes from 1 to 1 take [\d.]+ to [\d.]+ times as",
    ):
        place.plan("deep", measure=lambda what: None)


def test_several_processes_are_refused(place: Place, clock: Clock) -> None:
    clock(0.0)
    with pytest.raises(UserError, match=r"match.time of variant 'local': steps are measured in one process, and .* 2;"):
        planned(place, "{time: 5%}", "local", "run.nproc=2")


def test_one_process_measures_at_a_time(place: Place) -> None:
    order: list[str] = []

    def other() -> None:
        with Timings(Path("results"), "tiny").alone():
            order.append("other")

    thread = threading.Thread(target=other)
    with Timings(Path("results"), "tiny").alone():
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_what_another_process_has_measured_meanwhile_is_taken(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = clock(0.0)
    (there,) = planned(place, "{time: 5%}", "local").runs
    before, kept = len(measured), Path("results/tiny/.match.json")
    answer = kept.read_bytes()
    kept.unlink()

    @contextmanager
    def waiting(self: Timings) -> Iterator[None]:
        kept.write_bytes(answer)
        yield

    monkeypatch.setattr(Timings, "alone", waiting)
    (here,) = planned(place, "{time: 5%}", "local").runs
    assert (here.arm.identity, len(measured)) == (there.arm.identity, before)


def test_what_is_committed_is_read_and_written_when_asked(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = clock(0.0)
    (there,) = planned(place, "{time: 5%}", "local").runs
    kept, committed = Path("results/tiny/.match.json"), Path("results/tiny/match.json")
    Timings(Path("results"), "tiny").commit()
    first = committed.read_bytes()
    assert first == kept.read_bytes()
    kept.unlink()  # a clone
    before = len(measured)
    assert planned(place, "{time: 5%}", "local").runs[0].arm.identity == there.arm.identity
    assert (len(measured), kept.exists()) == (before, False)
    monkeypatch.setattr("lllm.launch.machine._cpu", lambda: "another processor")
    planned(place, "{time: 5%}", "local")
    assert committed.read_bytes() == first
    Timings(Path("results"), "tiny").commit()
    (answers,) = json.loads(committed.read_text()).values()
    assert len({answer["machine"]["device"] for answer in answers}) == len(answers) == 2


@pytest.mark.parametrize("name", ["match.json", ".match.json"])
@pytest.mark.parametrize("text", ["[]", "{", '{"a": [{"value": 1}]}', '{"a": 3}'])
def test_a_damaged_file_is_said(place: Place, text: str, name: str) -> None:
    path = Path("results/tiny") / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=r"match.json: not "):
        Timings(Path("results"), "tiny").find("a", None)


def test_steps_are_measured_for_real(place: Place) -> None:
    _, (flat, local) = arms_of(place, "{params: 90%}", "flat", "local")
    found = list(itertools.islice(measure.pairs(local, flat, 0), 3))
    assert all(mine > 0 and its > 0 for mine, its in found)


# --- the numbers ----------------------------------------------------------------------------------------------------


def test_the_interval_of_a_median_of_ratios() -> None:
    """Nine pairs: the sign test leaves the second and the eighth (96%), at 0.1 and 0.7 of the logarithms 0, 0.1, ..."""
    import math

    ratio = _ratio([(math.exp(i / 10), 2.0) for i in range(9)], 2.0)
    assert ratio.value == pytest.approx(math.exp(0.4))
    assert ratio.half == pytest.approx(math.exp(0.3) - 1)


def test_a_slow_spell_moves_no_ratio() -> None:
    slowed = [(1.1 * level, level) for level in [1.0] * 10 + [5.0] * 10]
    ratio = _ratio(slowed, 1.0)
    assert (ratio.value, ratio.half) == (pytest.approx(1.1), pytest.approx(0.0, abs=1e-12))


@pytest.mark.parametrize("start", [1, 40, 700])
def test_the_search_ends_at_the_size_next_to_it(start: int) -> None:
    tried: dict[int, float] = {}
    value: int | None = start
    while value is not None:
        tried[value] = (50 + value) / 247.5
        value = _following(tried, 1000)
    assert {197, 198} <= tried.keys()
    assert len(tried) <= 16


@pytest.mark.parametrize(("ratio", "last"), [(2.0, 1), (0.5, 1000)])
def test_the_search_ends_where_there_is_nothing_beyond(ratio: float, last: int) -> None:
    tried: dict[int, float] = {}
    value: int | None = 30
    while value is not None:
        tried[value] = ratio
        value = _following(tried, 1000)
    assert last in tried
