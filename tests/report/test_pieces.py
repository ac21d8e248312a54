"""What a page is made of, without a browser."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lllm.errors import UserError
from lllm.report.figures.curves import Curve, curves_of, mean_of
from lllm.report.figures.design import design
from lllm.report.figures.figure import label, numbers
from lllm.report.figures.front import undominated
from lllm.report.figures.palette import DASHES, PALETTES, SERIES, token
from lllm.report.figures.search import search
from lllm.report.figures.spread import spread
from lllm.report.figures.trials import searches, tunings
from lllm.report.figures.tuning import tuning
from lllm.report.html import Table, esc, plain, table_html
from lllm.report.index import Question, entries, index_page
from lllm.report.page import page
from lllm.results.committed import load_records, read_committed, write_committed
from lllm.results.files import write_json
from lllm.results.grouping import Expected
from lllm.results.rule import Design, Rule
from tests.report.helpers import FULL, STEPS, expected, full_study, gathered, noise, unfinished, write_run
from tests.results.conftest import arm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pieces")
    full_study(folder)
    return folder


CURVE = [(0.01, 2.7), (0.02, 2.5), (0.04, None)]


def test_undominated_points() -> None:
    points = [(1.0, 3.0), (2.0, 2.0), (2.0, 2.0), (3.0, 2.5), (4.0, 1.0), (1.0, 4.0)]
    assert undominated(points, more=False, higher=False) == [0, 1, 4]
    assert undominated(points, more=True, higher=False) == [4]
    assert undominated(points, more=False, higher=True) == [5]
    assert undominated([], more=False, higher=False) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12), st.booleans(), st.booleans())
def test_a_front_is_what_no_point_beats(points: list[tuple[int, int]], more: bool, higher: bool) -> None:
    front = [points[i] for i in undominated([(float(x), float(y)) for x, y in points], more, higher)]

    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        signed = [(-1 if more else 1, 0), (-1 if higher else 1, 1)]
        gains = [sign * (b[i] - a[i]) for sign, i in signed]
        return min(gains) >= 0 and max(gains) > 0

    assert set(front) == {p for p in points if not any(beats(q, p) for q in points)}
    assert len(front) == len(set(front))


def test_curves_carry_what_was_spent(root: Path) -> None:
    record = next(r for r in load_records(root, "study") if r.variant == "flat" and r.seed == 0)
    found = curves_of(record, ("loss", "bpb", "nothing"))
    assert set(found) == {"loss", "bpb"}
    assert found["bpb"].steps == tuple(range(50, STEPS + 1, 50))
    assert found["bpb"].spent["bytes"] == tuple(step * 2500.0 for step in range(50, STEPS + 1, 50))
    assert found["bpb"].spent["seconds"][-1] == STEPS / 20


def test_committed_curves_spend_their_share(root: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    write_committed(tmp_path, "study", [r for r in load_records(root, "study") if r.variant == "flat"])
    (first, *_) = read_committed(tmp_path, "study")
    found = curves_of(first, ("bpb",))["bpb"]
    assert found.spent["bytes"][-1] == pytest.approx(1_000_000)
    assert found.spent["seconds"][0] == pytest.approx((first.result or {})["seconds"] * 50 / STEPS)


def test_the_mean_ends_where_all_have_been() -> None:
    one = Curve((1.0, 2.0, 3.0), (3.0, 2.0, 1.0), {"bytes": (10.0, 20.0, 30.0)})
    two = Curve((1.0, 3.0), (5.0, 3.0), {"bytes": (10.0, 30.0), "flops": (1.0, 3.0)})
    short = Curve((1.0, 2.0), (1.0, 0.0), {"bytes": (10.0, 20.0)})
    found = mean_of([one, two])
    assert found is not None
    assert found.mean == Curve((1.0, 2.0, 3.0), (4.0, 3.0, 2.0), {"bytes": (10.0, 20.0, 30.0)})
    assert (found.low, found.high) == ((3.0, 2.0, 1.0), (5.0, 4.0, 3.0))
    shorter = mean_of([one, two, short])
    assert shorter is not None
    assert shorter.mean.steps == (1.0, 2.0)
    assert mean_of([]) is None


def test_a_damaged_curve_costs_the_curve_alone(tmp_path: Path) -> None:
    for seed in range(2):
        path = write_run(tmp_path, "flat", seed, 2.5 + 0.01 * seed)
    (path / "metrics.jsonl").write_text("not json\n{}\n")
    (path / "samples.jsonl").write_text("not json\n{}\n")
    made = page(gathered(tmp_path, expected("flat")))
    assert "learning" in made.figures
    assert "2.5050" in made.text


def test_rows_without_a_likelihood_are_shown_by_what_decides(tmp_path: Path) -> None:
    for variant, hit in (("flat", 0.5), ("local", 0.75)):
        for seed in range(2):
            numbers_of = {"kind": "none", "slots": [], "positions": {}, "metrics": {"recall": hit + 0.01 * seed}}
            write_run(tmp_path, variant, seed, 9.9, results=numbers_of)
    made = page(gathered(tmp_path, expected("flat", "local", rule=Rule(metric="recall", better="higher"))))
    assert "front" in made.figures
    assert "slots" not in made.figures
    assert "Decided by recall, higher is better against flat" in made.text
    assert "0.755" in made.text
    assert "9.9" not in made.text[: made.text.index('id="learning"')]


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    esc(text).encode()
    assert "<" not in esc(text)
    assert '"' not in esc(text)
    label(text).encode()


def test_what_cannot_be_shown_is_written_out() -> None:
    assert plain("a\nb\x00\ud800") == "a\nb\\x00\\ud800"
    assert label("<b>&$") == "&lt;b&gt;&amp;&#36;"
    assert numbers([1 / 3, None, float("nan"), float("inf")]) == [0.333333, None, None, None]
    assert '<td class="n">&lt;1</td>' in table_html(Table(["a"], [["<1"]], right=[0]))


def test_rows_and_trials_are_told_apart(root: Path) -> None:
    report = gathered(root, expected(*FULL))
    assert [series.name for series in report.series] == list(FULL)
    assert [series.colour for series in report.series] == ["ink", "c1", "c2", "c3"]
    assert [series.baseline for series in report.series] == [True, False, False, False]
    tuned = tunings(report)
    assert {name: (variant, len(trials)) for name, (variant, trials) in tuned.items()} == {
        "flat": ("flat", 5),
        "local": ("local", 5),
    }
    assert [trial.typed for trial in tuned["flat"][1]][:2] == [["train.lr=0.001"], ["train.lr=0.002"]]
    (search,) = searches(report)
    assert (search.study, len(search.trials)) == ("study/search", 20)
    assert {record.state for record in report.runs} == {"finished", "failed", "empty"}
    assert not any(record.info.get("trial") for record in report.runs)


def test_where_only_tuned_runs_are_here_they_tell_of_the_trials(tmp_path: Path) -> None:
    tried = [{"trial": i, "fields": {"train.lr": lr}, "value": value} for i, (lr, value) in enumerate(CURVE)]
    write_run(tmp_path, "flat", 0, 2.5, tuned={"trials": 3, "fields": {"train.lr": 0.02}, "tried": tried})
    ((name, (variant, trials)),) = tunings(gathered(tmp_path, expected("flat"))).items()
    assert (name, variant) == ("flat", "flat")
    assert [(trial.settings["train.lr"], trial.values.get("bpb")) for trial in trials] == CURVE


def test_two_tunings_of_a_variant_are_two_lines(tmp_path: Path) -> None:
    for study in ("tune", "wide"):
        for number, lr in enumerate((0.001, 0.002)):
            trial = {"study": f"study/flat/{study}", "number": number}
            write_run(tmp_path, "flat", 1000, 2.5, identity=arm(f"{study}{lr}"), lr=lr, trial=trial)
    write_run(tmp_path, "flat", 0, 2.5)
    assert set(tunings(gathered(tmp_path, expected("flat")))) == {"flat (tune)", "flat (wide)"}


def test_a_search_is_known_from_its_table_alone(tmp_path: Path) -> None:
    for variant in ("flat", "local"):
        write_run(tmp_path, variant, 0, 2.5)
    write_json(tmp_path / "study" / "pareto.json", pareto())
    report = gathered(tmp_path, expected("flat", "local"))
    (found,) = searches(report)
    assert found.objectives == {"bpb": "lower", "generation_bytes_per_second": "higher"}
    assert found.trials[1].values == {"bpb": 2.4, "generation_bytes_per_second": 900.0}
    (figure,) = search(report)
    assert [option.key for option in figure.switches[0].options] == ["generation_bytes_per_second", "number"]
    assert "What decides bpb: model.ratio 70%, train.lr 30%." in figure.caption
    assert "1 complete" not in figure.caption
    assert "3 complete, 1 pruned" in figure.caption
    assert figure.numbers is not None
    assert [row[0] for row in figure.numbers.rows] == ["1 ●", "2 ●", "0", "3"]
    assert figure.numbers.rows[3][-1] == "pruned: cannot be built"
    fronts = [trace for trace in figure.to_json()["data"] if trace["name"] == "beaten by nobody"]
    assert fronts[0]["x"] == [2000.0, 900.0]
    for damaged in ("[]", '{"objectives": 5, "trials": 5}'):
        (tmp_path / "study" / "pareto.json").write_text(damaged)
        with pytest.raises(UserError, match="damaged"):
            searches(gathered(tmp_path, expected("flat")))


def pareto() -> dict[str, Any]:
    """As `sweep --search` writes it."""

    def trial(number: int, values: list[float] | None, front: bool = False, **more: Any) -> dict[str, Any]:
        params = {"model.ratio": 2 + number, "train.lr": 0.001}
        return {"number": number, "state": "complete", "params": params, "values": values, "front": front, **more}

    return {
        "study": "study/search",
        "objectives": [
            {"name": "bpb", "better": "lower"},
            {"name": "generation_bytes_per_second", "better": "higher"},
        ],
        "importances": {"bpb": {"model.ratio": 0.7, "train.lr": 0.3}, "generation_bytes_per_second": {}},
        "trials": [
            trial(0, [2.6, 800.0]),
            trial(1, [2.4, 900.0], front=True),
            trial(2, [2.5, 2000.0], front=True),
            trial(3, None, state="pruned", reason="cannot be built"),
        ],
    }


def test_tuned_rows_tell_their_sensitivity_where_trials_are_gone(tmp_path: Path) -> None:
    tuned = {"trials": 8, "fields": {"train.lr": 0.004}, "sensitivity": {"0.5x": 2.6, "1x": 2.5, "2x": 2.7}}
    write_run(tmp_path, "flat", 0, 2.5, tuned=tuned)
    figure = tuning(gathered(tmp_path, expected("flat")))
    assert figure is not None
    line, ring = figure.to_json()["data"]
    assert (line["x"], line["y"]) == ([0.002, 0.004, 0.008], [2.6, 2.5, 2.7])
    assert ring["x"] == [0.004]
    assert "the trials themselves are not here" in figure.caption
    assert figure.numbers is not None
    assert figure.numbers.rows[0][:3] == ["flat", "8", "train.lr=0.004"]


def test_noise_is_of_the_tables_own_baseline(tmp_path: Path) -> None:
    for variant in ("flat", "local"):
        write_run(tmp_path, variant, 0, 2.5)
    rows = expected("flat", "local")
    said = "to measure it: lllm noise study"
    assert f"Noise: Not measured; {said}" in page(gathered(tmp_path, rows)).absent
    for other, why in (({"variant": "local"}, "arm"), ({"code": "edited"}, "code")):
        noise(tmp_path, **other)
        report = gathered(tmp_path, rows)
        assert (report.noise, spread(report)) == (None, None)
        assert f"Noise: noise.json is not used, for it is of another {why}; {said}" in page(report).absent
    noise(tmp_path, seeds=5)
    figure = spread(gathered(tmp_path, rows))
    assert figure is not None
    assert figure.numbers is not None
    assert [row[:3] for row in figure.numbers.rows] == [["flat", "bpb", "5"]]
    assert len(figure.to_json()["data"][0]["x"]) == 5


def test_effects_of_a_design(tmp_path: Path) -> None:
    of = {"full": ("muon", "conv"), "a": ("conv",), "b": ("muon",)}
    rule = Rule(design=Design("leave_one_out", ("muon", "conv"), of), comparisons=2, floor=0.02)
    for variant, bpb in (("full", 2.4), ("a", 2.5), ("b", 2.405)):
        for seed in range(3):
            write_run(tmp_path, variant, seed, bpb + 0.004 * math.sin(5 * seed + len(variant)))
    report = gathered(tmp_path, expected("full", "a", "b", rule=rule))
    figure = design(report)
    assert figure is not None
    assert figure.numbers is not None
    assert [row[0] for row in figure.numbers.rows] == ["without muon", "without conv"]
    assert figure.to_json()["data"][0]["x"][0] == pytest.approx(0.1, abs=0.01)
    assert [row[-1] for row in figure.numbers.rows] == ["", "within the floor"]
    (drawn,) = figure.to_json()["data"]
    assert drawn["marker"]["color"] == [token("c1"), token("muted")]
    assert "within the floor" in drawn["text"][1]
    assert "0.95 confidence of 2 at once" in figure.caption
    assert 'id="figure-effects"' in page(report).text
    alone = gathered(tmp_path, expected("full", rule=rule))
    assert "a is not in this table" in page(alone).text


def test_many_rows_are_told_apart_by_colour_and_dash(tmp_path: Path) -> None:
    names = [f"v{i}" for i in range(len(SERIES) + 3)]
    for name in names:
        write_run(tmp_path, name, 0, 2.5)
    looks = [(series.colour, series.dash) for series in gathered(tmp_path, expected(*names)).series]
    assert len(set(looks)) == len(names)
    assert looks[len(SERIES) + 1] == (SERIES[0], DASHES[1])


def test_stale_rows_are_shown_where_there_are_no_others(tmp_path: Path) -> None:
    for variant in ("flat", "local"):
        write_run(tmp_path, variant, 0, 2.5)
    rows = [Expected(v, arm(v), v == "flat", fingerprints={"code": "f" * 32}) for v in ("flat", "local")]
    report = gathered(tmp_path, rows)
    assert [(series.name, series.baseline) for series in report.series] == [
        ("flat (stale)", True),
        ("local (stale)", False),
    ]
    made = page(report)
    assert "Stale: parts have changed since the runs of flat, local" in made.text
    assert "learning" in made.figures


def test_the_rule_is_told_with_its_terms(root: Path) -> None:
    rule = Rule(level=0.9, power=0.7, floor=0.05)
    text = page(gathered(root, expected(*FULL, rule=rule))).text
    assert "at level 0.9" in text
    assert "larger than 0.05" in text
    assert "power 0.7" in text
    assert "the floor, ± 0.05" in text


def test_figures_name_only_colours_of_the_palette(root: Path) -> None:
    text = page(gathered(root, expected(*FULL))).text
    style = text[text.index("<style>") : text.index("</style>")]
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text[text.index('id="figures"') : text.index('id="plotly"')]))
    assert used
    assert used <= set(PALETTES["light"])
    assert set(PALETTES["light"]) == set(PALETTES["dark"])
    assert set(re.findall(r"var\(--([a-z0-9-]+)\)", style)) <= set(PALETTES["light"])


def test_every_figure_has_its_numbers(root: Path) -> None:
    text = page(gathered(root, expected(*FULL))).text
    told = json.loads(text[text.index(">", text.index('id="figures"')) + 1 :].split("</script>")[0])
    for figure in told["figures"]:
        after = text[text.index(f'id="figure-{figure["key"]}"') :]
        assert after.index("<details>") < after.index("</section>")


def test_the_page_holds_the_library_once(root: Path) -> None:
    text = page(gathered(root, expected(*FULL))).text
    assert text.count('id="plotly"') == 1
    assert "Plotly, Inc" not in text
    assert len(text.encode()) < 3_000_000
    assert not re.search(r"""(?:src|href)=["']?https?:""", text)
    assert "unsafe-eval" not in text
    assert "script-src 'sha256-" in text


def test_the_index_names_the_best(root: Path, tmp_path: Path) -> None:
    question = Question("Is it?", FULL, "flat", Rule())
    (begun,) = entries(root, load_records(root), {"study": question})
    assert "2 without a verdict" in begun.summaries[0].said  # a fourth seed was begun of each, as the table says
    whole = tmp_path / "whole"
    shutil.copytree(root, whole)
    for path in [*whole.glob("study/*/*/s3"), whole / ".index.json", whole / "ledger.jsonl"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (entry,) = entries(whole, load_records(whole), {"study": question})
    (summary,) = entry.summaries
    assert summary.rows == 4
    assert re.match(r"Better than flat: local \(-0\.0\d+ ± 0\.00\d+\); worse than flat: parallel_head", summary.said)
    assert "inconclusive: twin" in summary.said
    assert "Is it?" in index_page([entry])
    unfinished(tmp_path, "flat", 0, None)
    (empty,) = entries(tmp_path, load_records(tmp_path), {"study": question})
    assert empty.summaries[0].said == "No verdict yet."


def test_the_newest_unchanged_arm_stands_for_its_variant(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "flat", seed, 2.5)
        write_run(tmp_path, "flat", seed, 1.0, identity=arm("other"), overrides=["train.lr=1"])
    question = Question("Is it?", ("flat",), "flat", Rule())
    (entry,) = entries(tmp_path, load_records(tmp_path), {"study": question})
    assert entry.summaries[0].rows == 1
    noise(tmp_path)
    assert entries(tmp_path, load_records(tmp_path), {"study": question}) == [entry]


def test_style_and_script_travel_in_the_wheel() -> None:
    from hatchling.builders.wheel import WheelBuilder

    names = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {"lllm/report/assets/style.css", "lllm/report/assets/script.js"} <= names


def test_nothing_heavy_is_imported_before_a_figure_is_made() -> None:
    code = "import sys, lllm.report.page, lllm.cli.report; print(sorted({'torch', 'plotly'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
