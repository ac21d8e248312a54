"""`lllm noise`: ordinary runs, stored once, reused by fingerprint; and the plan that says what seeds can show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lllm.results.noise import read_noise
from lllm.results.statistics.power import detectable
from tests.cli.conftest import EXPERIMENT, Verb, project


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which nothing was run."""
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bpb(folder: Path, variant: str) -> list[float]:
    files = sorted((folder / "results" / "tiny" / variant).glob("*/s?/result.json"))
    return [json.loads(file.read_text())["bpb"] for file in files]


def test_seeds_of_the_baseline_are_trained_once_and_kept(verb: Verb, folder: Path) -> None:
    assert verb("run", "tiny", "flat").code == 0
    done = verb("noise", "tiny", "--seeds", "3")
    assert done.code == 0, done.err
    assert "flat/s1" in done.out
    assert "2 to train, 1 finished" in done.out
    values = bpb(folder, "flat")
    (noise,) = read_noise(Path("results"), "tiny").all
    assert (noise.seeds, noise.values, noise.metric) == ((0, 1, 2), tuple(values), "bpb")
    sd = float(np.std(values, ddof=1))
    assert noise.sd == pytest.approx(sd)
    for shown in (f"standard deviation {sd:.2g}", "if runs are normally distributed"):
        assert shown in done.out
    assert not list((folder / "results" / "tiny").glob("four"))
    before = (folder / "results" / "tiny" / "noise.json").read_bytes()
    for fewer in ("3", "2"):
        again = verb("noise", "tiny", "--seeds", fewer)
        assert "stored already, from 3 seeds; nothing is trained" in again.out
        assert "finished" not in again.err
    assert (folder / "results" / "tiny" / "noise.json").read_bytes() == before


def test_each_arm_has_a_noise_of_its_own_and_json_has_all_of_it(verb: Verb, folder: Path) -> None:
    plain = json.loads(verb("noise", "tiny", "--seeds", "2", "--json").out)
    changed = json.loads(verb("noise", "tiny", "train.lr=1e-3", "--seeds", "2", "--json").out)
    other = json.loads(verb("noise", "tiny", "--variant", "four", "--seeds", "2", "--json").out)
    assert len({found["noise"]["arm"] for found in (plain, changed, other)}) == 3
    assert len(read_noise(Path("results"), "tiny").all) == 3
    assert (plain["variant"], other["variant"]) == ("flat", "four")
    assert plain["floor"] is None
    assert [line["seeds"] for line in plain["detectable"]] == [2, 3, 5, 8]
    for line in plain["detectable"]:
        assert line["difference"] == detectable(plain["noise"]["sd"], line["seeds"], 1)
    assert [run["run"] for run in plain["plan"]] == ["flat/s0", "flat/s1"]


def test_noise_of_other_code_is_not_used(verb: Verb, folder: Path) -> None:
    assert verb("noise", "tiny", "--seeds", "2").code == 0
    file = folder / "results" / "tiny" / "noise.json"
    file.write_text(json.dumps([{**entry, "code": "0" * 32} for entry in json.loads(file.read_text())]))
    assert "from finished runs" in verb("run", "tiny", "--seeds", "0,1,2", "--dry-run").out
    again = verb("noise", "tiny", "--seeds", "2")
    assert "0 to train, 2 finished" in again.out  # its runs are of the code as it is
    assert [noise.code == "0" * 32 for noise in read_noise(Path("results"), "tiny").all] == [True, False]


def test_a_failed_seed_leaves_nothing_stored(verb: Verb, folder: Path) -> None:
    wild = ["train.lr=1e30", "train.clip=null", "train.optimizer=adamw", "budget={steps: 30}"]
    done = verb("noise", "tiny", *wild, "--seeds", "2")
    assert done.code == 1
    assert "not stored: 0 of 2 seeds are finished" in done.err
    assert read_noise(Path("results"), "tiny").all == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "1"], "a spread needs two"),
        (["--variant", "fuor"], "did you mean 'four'"),
        (["four"], "expected KEY=VALUE"),
        (["seeds=[1]"], "stands in the experiment's file"),
    ],
)
def test_bad_input(verb: Verb, folder: Path, arguments: list[str], said: str) -> None:
    done = verb("noise", "tiny", *arguments)
    assert done.code == 2
    assert said in done.err
    assert not (folder / "results").exists() or not list((folder / "results").rglob("run.json"))


def test_a_metric_that_the_results_lack(verb: Verb, folder: Path) -> None:
    (folder / "experiments" / "tiny.yaml").write_text(EXPERIMENT + "decide: nats_per_bite\n")
    done = verb("noise", "tiny", "--seeds", "2")
    assert done.code == 2
    assert "nats_per_bite" in done.err
    assert read_noise(Path("results"), "tiny").all == ()


def test_the_plan_says_what_its_seeds_can_show(verb: Verb, folder: Path) -> None:
    one = verb("run", "tiny", "--dry-run")
    assert "one seed: no verdict is possible; --seeds 0,1,2" in one.out
    unknown = verb("run", "tiny", "train.lr=1e-3", "--seeds", "0,1,2", "--dry-run")
    assert "3 seeds of 2 variants: what they can show is not known; `lllm noise tiny train.lr=1e-3`" in unknown.out
    assert verb("noise", "tiny", "--seeds", "2").code == 0
    known = json.loads(verb("run", "tiny", "--seeds", "0,1,2", "--dry-run", "--json").out)["detectable"]
    (noise,) = read_noise(Path("results"), "tiny").all
    assert (known["sd"], known["floor"], known["comparisons"]) == (noise.sd, None, 1)
    assert known["difference"] == detectable(noise.sd, 3, 1)
    assert f"a difference of {known['difference']:.2g} bpb would be found with probability 80%" in known["text"]
    assert "2 seeds of the baseline" in known["text"]
    still = json.loads(verb("run", "tiny", "train.lr=1e-3", "--seeds", "0,1", "--dry-run", "--json").out)["detectable"]
    assert still["difference"] is None  # that baseline was not measured
    assert "noise.json is not used, for it is of another arm" in still["text"]


def test_the_plan_of_some_variants_counts_what_the_file_compares(verb: Verb, folder: Path) -> None:
    more = "  wide: {model.width: 24}\n  slow: {train.lr: 1e-4}\nbaseline"
    (folder / "experiments" / "tiny.yaml").write_text(EXPERIMENT.replace("baseline", more))
    assert verb("noise", "tiny", "--seeds", "2").code == 0
    (noise,) = read_noise(Path("results"), "tiny").all
    for asked, rows in ((("flat", "four"), 2), (("four",), 2), ((), 4)):
        found = json.loads(verb("run", "tiny", *asked, "--seeds", "0,1,2", "--dry-run", "--json").out)["detectable"]
        assert found["comparisons"] == 3
        assert f"3 seeds of {rows} variants" in found["text"]
        assert found["difference"] == detectable(noise.sd, 3, 3, rows=rows)


def test_two_variants_of_one_arm_estimate_the_spread_once(verb: Verb, folder: Path) -> None:
    text = EXPERIMENT.replace("baseline", "  again: {model.head: parallel}\nbaseline")
    (folder / "experiments" / "tiny.yaml").write_text(text + "decide: {metric: bpb, floor: 0}\n")
    assert verb("noise", "tiny", "--seeds", "2").code == 0
    (noise,) = read_noise(Path("results"), "tiny").all
    words = ("run", "tiny", "--seeds", "0,1,2", "--dry-run", "--json")
    assert json.loads(verb(*words).out)["detectable"]["difference"] == detectable(noise.sd, 3, 2, rows=2)
    same = "model.ratio=1", "model.downsampler=identity", "model.head=parallel"
    alone = json.loads(verb(*words, *same).out)["detectable"]
    assert alone["text"] == "four, again: the same arm as 'flat', nothing can differ"


def test_without_noise_the_plan_takes_the_spread_of_finished_runs(verb: Verb, folder: Path) -> None:
    assert verb("run", "tiny", "--seeds", "0,1").code == 0
    found = json.loads(verb("run", "tiny", "--seeds", "0,1,2,3", "--dry-run", "--json").out)["detectable"]
    gaps = np.subtract(bpb(folder, "four"), bpb(folder, "flat"))
    assert found["sd"] == pytest.approx(float(np.std(gaps, ddof=1)) / np.sqrt(2))
    assert "from finished runs" in found["text"]


def test_one_variant_alone_shows_nothing(verb: Verb, folder: Path) -> None:
    assert "detectable" not in json.loads(verb("run", "tiny", "flat", "--seeds", "0,1", "--dry-run", "--json").out)
