"""`lllm sweep`: what it plans, refuses, records, continues and shows."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

import lllm.cli.sweep.served
import lllm.search.driver
import lllm.search.trials
from lllm.cli.sweep.command import seconds_in
from lllm.cli.sweep.served import Sweep
from lllm.errors import UserError
from lllm.results.run import Run
from lllm.results.state import identity
from lllm.search.storage import open_storage
from lllm.search.winners import read_tuned
from tests.cli.conftest import EXPERIMENT, Verb
from tests.search.helpers import stand_in
from tests.train import toys_measures

FEW = ["--trials", "3", "budget={steps: 2}"]


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny experiment, in which nothing was run."""
    for name in ("corpus.txt", "experiments"):
        source = home / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """There, trials are stand-ins: their best learning rate is 0.01. Confirmation is real."""
    monkeypatch.setattr(lllm.cli.sweep.served, "drive", functools.partial(lllm.search.driver.drive, command=stand_in))
    return folder


def wrote(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in (folder / "results").rglob("*")}


def test_a_dry_run_says_what_it_costs_and_writes_nothing(folder: Path, verb: Verb) -> None:
    done = verb("sweep", "tiny", *FEW, "--dry-run")
    assert done.code == 0
    for said in (
        "train.lr: 0.005, 0.01, 0.02",
        "3 trials for each of 2 variant(s), at seed 1000",
        "seeds 0,1,2: 6 runs",
    ):
        assert said in done.out
    assert not (folder / "results").exists()
    found = json.loads(verb("sweep", "tiny", *FEW, "--dry-run", "--json", "--confirm-seeds", "5,6").out)
    assert [one["variant"] for one in found["plan"]] == ["flat", "four"]
    assert (found["plan"][0]["steps"], found["confirm_seeds"], found["search_seed"]) == (2, [5, 6], 1000)


@pytest.mark.parametrize("url", ["postgresql://me:secret@host/db", "postgresql://me@host/db?password=secret"])
def test_a_password_is_shown_nowhere(folder: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(Sweep, "look", lambda asked, closely: None)  # there is no such server
    done = verb("sweep", "tiny", *FEW, "--dry-run", "--json", "--storage", url)
    assert done.code == 0
    assert json.loads(done.out)["storage"] == "postgresql://me@host/db"
    assert "secret" not in done.out + done.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///corpus.txt", "corpus.txt: file is not a database; expected a file that Optuna made"),
        ("sqlite:///experiments", "experiments: unable to open database file"),
        ("postgresql://me:secret@127.0.0.1:1/db", "onnection refused"),
        ("corpus.db", "--storage: not the URL of a database"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["--search"]])
def test_a_dry_run_refuses_a_storage_that_the_run_would(
    folder: Path, verb: Verb, mode: list[str], url: str, said: str
) -> None:
    done = verb("sweep", "tiny", *FEW, *mode, "--dry-run", "--storage", url)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "secret" not in done.err
    assert not (folder / "results").exists()


def test_a_password_with_an_at_sign_is_refused_before_any_of_it_is_shown(folder: Path, verb: Verb) -> None:
    done = verb("sweep", "tiny", *FEW, "--dry-run", "--storage", "postgresql://me:top@secret@host/db")
    assert done.code == 2
    assert "more than one '@'" in done.err
    assert "secret" not in done.out + done.err


def test_a_password_is_in_no_file_and_in_no_command_to_continue(
    quick: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "open", lambda asked: open_storage(None, asked.results, asked.experiment.name))
    (quick / "pace").write_text("5")
    for option in (
        ["--storage", "postgresql://me:secret@host/db"],
        ["--storage=postgresql://me@host/db?password=secret"],
    ):
        done = verb("sweep", "tiny", *FEW, *option, "--timeout", "0.1s")
        assert done.code == 0, done.err
        assert "To continue: lllm sweep tiny --trials 3" in done.out
        assert "secret" not in done.out + done.err
    files = [path for path in (quick / "results").rglob("*") if path.is_file()]
    assert any(path.name == "run.json" for path in files)
    assert not [path for path in files if b"secret" in path.read_bytes()]


def test_tuned_confirmed_tabulated_and_complete_when_it_is_given_again(quick: Path, verb: Verb) -> None:
    done = verb("sweep", "tiny", *FEW, "--workers", "1")
    assert done.code == 0, done.err
    assert "3 complete" in done.out
    assert "tiny as tuned" in done.out
    assert not (quick / "results/tiny/table.tuned.md").exists()
    tuned = read_tuned(Path("results"), "tiny")
    assert {name: (one.fields, one.trials) for name, one in tuned.winners.items()} == {
        "flat": ({"train.lr": 0.01}, 3),
        "four": ({"train.lr": 0.01}, 3),
    }
    assert tuned.overrides == ("budget={steps: 2}",)
    confirmed = list(Path("results").glob("tiny/*/*/s[012]"))
    assert len(confirmed) == 6
    for path in confirmed:
        info = Run(path).info
        assert (info["name"], info["overrides"]) == ("tuned", ["budget={steps: 2}", "--tuned"])
        assert info["tuned"] == tuned.extra(info["variant"])["tuned"]
    before = wrote(quick)
    again = verb("sweep", "tiny", *FEW, "--workers", "1")
    assert again.code == 0
    assert "the sweep is complete; nothing of it is trained again" in again.out
    assert "0 to train, 6 finished" in again.out
    assert "tiny as tuned" in again.out
    assert wrote(quick) == before

    shown = json.loads(verb("compare", "tiny", "--as", "tuned", "--json").out)[0]
    assert [(row["variant"], row["trials"], len(row["seeds"]), row["unlike"]) for row in shown["rows"]] == [
        ("flat", 3, 3, ""),
        ("four", 3, 3, ""),
    ]
    assert shown["command"] == "lllm run tiny 'budget={steps: 2}' --tuned --seeds 0,1,2 --as tuned"
    status = verb("sweep", "tiny", "--status")
    assert "tiny/flat/tune" in status.out
    assert "3 complete" in status.out
    assert "train.lr=0.01" in status.out


def test_rows_tuned_to_different_rates_are_compared(quick: Path, verb: Verb) -> None:
    text = EXPERIMENT.replace("four: {model.head: parallel}", "four: {model.head: parallel, train.lr: 0.04}")
    (quick / "experiments/tiny.yaml").write_text(text)
    done = verb("sweep", "tiny", "--trials", "1", "budget={steps: 2}", "--workers", "2", "--no-confirm")
    assert done.code == 0, done.err
    rates = [one.fields["train.lr"] for one in read_tuned(Path("results"), "tiny").winners.values()]
    assert rates == [0.01, 0.01]
    tuned = Path("results/tiny/tuned.yaml")
    tuned.write_text(tuned.read_text().replace("train.lr: 0.01", "train.lr: 0.03", 1))
    assert verb("run", "tiny", "--tuned", "budget={steps: 2}", "--seeds", "0,1").code == 0
    shown = json.loads(verb("compare", "tiny", "--as", "tuned", "--json").out)[0]
    rows = [row for row in shown["rows"] if row["note"] == ""]
    assert [(row["variant"], row["unlike"], row["verdict"]["word"]) for row in rows] == [
        ("flat", "", "baseline"),
        ("four", "", rows[1]["verdict"]["word"]),
    ]
    assert rows[1]["verdict"]["word"] in ("better", "worse", "inconclusive")


def test_trials_are_no_look_of_a_rule_that_adds_seeds(quick: Path, verb: Verb) -> None:
    until = ["run", "tiny", "budget={steps: 2}", "--seeds-until-decided", "3", "--dry-run"]
    assert verb("sweep", "tiny", *FEW, "--no-confirm").code == 0
    for some in ([*until, "train.lr=0.01"], [*until, "--tuned"]):  # two of the trials are these settings
        done = verb(*some)
        assert (done.code, done.err) == (0, "")
    assert verb("sweep", "tiny", *FEW, "--confirm-seeds", "0,1").code == 0
    done = verb(*until, "--tuned")
    assert done.code == 2
    assert "seeds 0, 1 of 'four' and of the baseline were trained without it" in done.err


def test_run_tuned_says_where_it_comes_from(quick: Path, verb: Verb) -> None:
    refused = verb("run", "tiny", "--tuned")
    assert refused.code == 2
    assert "expected what `lllm sweep tiny` writes" in refused.err
    assert verb("sweep", "tiny", "four", *FEW, "--no-confirm").code == 0
    refused = verb("run", "tiny", "--tuned")
    assert refused.code == 2
    assert "variant 'flat' is not in it; expected `lllm sweep tiny` first" in refused.err
    done = verb("run", "tiny", "four", "--tuned", "--seeds", "4")
    assert done.code == 0
    assert "tuned four: train.lr=0.01 (3 trials, bpb 1.0000 at seed 1000; on other terms" in done.out
    assert "; on other terms than these runs: at budget steps=2)" in done.out
    (path,) = Path("results/tiny/four").glob("*/s4")
    assert Run(path).info["name"] == "tuned"
    assert Run(path).info["tuned"]["trials"] == Run(path).info["tuned"]["trained"] == 3
    assert Run(path).info["tuned"]["terms"]["budget"] == {"steps": 2}
    assert verb("run", "tiny", "four", "--tuned", "budget={steps: 2}", "--seeds", "4").out.count("other terms") == 0


def test_what_chose_the_settings_confirms_nothing_and_nothing_overrides_them(quick: Path, verb: Verb) -> None:
    assert verb("sweep", "tiny", "four", *FEW, "--no-confirm").code == 0
    refused = verb("run", "tiny", "four", "--tuned", "budget={steps: 2}", "--seeds", "0,1000")
    assert refused.code == 2
    assert (
        "--seeds 0,1000: 1000 is the seed of the trials that chose these settings; expected fresh ones" in refused.err
    )
    refused = verb("run", "tiny", "four", "--tuned", "train.lr=0.1", "--seeds", "0")
    assert refused.code == 2
    assert "train.lr=0.1: results/tiny/tuned.yaml sets it; expected one or the other" in refused.err


def test_trials_that_train_nothing_are_told(quick: Path, verb: Verb) -> None:
    (quick / "experiments/tiny.yaml").write_text(f"{EXPERIMENT}search: {{train.lr: [0.01, 0.02]}}\n")
    done = verb("sweep", "tiny", "four", *FEW, "--no-confirm", "--workers", "1", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["sweep"]["four"]["runs"] == 2
    assert "four: 2 different runs in 3 trials; others repeat one or are infeasible" in done.err
    again = verb("sweep", "tiny", "four", "--trials", "2", "budget={steps: 2}", "--no-confirm", "--as", "two")
    assert "different runs" not in again.out


def test_a_name_of_its_own_for_other_terms(quick: Path, verb: Verb) -> None:
    assert verb("sweep", "tiny", "four", *FEW, "--no-confirm").code == 0
    other = ["--trials", "3", "budget={steps: 3}", "--no-confirm"]
    refused = verb("sweep", "tiny", "four", *other)
    assert refused.code == 2
    assert "study 'tiny/four/tune' was begun under other terms" in refused.err
    assert "--as NEWNAME" in refused.err
    assert verb("sweep", "tiny", "four", *other, "--as", "longer").code == 0
    status = json.loads(verb("sweep", "tiny", "--status", "--json").out)
    assert [study["study"] for study in status["studies"]] == ["tiny/four/longer", "tiny/four/tune"]


def test_a_variant_without_a_result_is_told_and_not_confirmed(
    folder: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(run: Any) -> list[str]:
        return stand_in(run) if run.arm.variant == "flat" else ["sh", "-c", "echo error: no; exit 1"]

    drive = functools.partial(lllm.search.driver.drive, command=failing)
    monkeypatch.setattr(lllm.cli.sweep.served, "drive", drive)
    done = verb("sweep", "tiny", *FEW, "--no-confirm")
    assert done.code == 1
    assert "four: no trial came to a result; it is not tuned (no " in done.err
    assert list(read_tuned(Path("results"), "tiny").winners) == ["flat"]


def test_time_that_is_up_confirms_nothing_and_says_how_to_continue(quick: Path, verb: Verb) -> None:
    (quick / "pace").write_text("5")
    done = verb("sweep", "tiny", *FEW, "--timeout", "0.1s")
    assert done.code == 0
    assert "the time is up" in done.out
    assert "To continue: lllm sweep tiny --trials 3" in done.out
    assert not (quick / "results/tiny/tuned.yaml").exists()
    (quick / "pace").unlink()
    assert verb("sweep", "tiny", *FEW, "--no-confirm").code == 0
    assert (quick / "results/tiny/tuned.yaml").exists()


def test_a_metric_that_no_result_has_is_refused_before_anything_is_trained(folder: Path, verb: Verb) -> None:
    (folder / "experiments/tiny.yaml").write_text(f"{EXPERIMENT}decide: bpp\n")
    done = verb("sweep", "tiny", *FEW)
    assert done.code == 2
    assert "decide.metric = 'bpp': runs of variant 'flat' will not have it" in done.err


def test_a_metric_that_the_corpus_does_not_measure_is_refused_before_anything_is_trained(
    folder: Path, verb: Verb
) -> None:
    (folder / "experiments/tiny.yaml").write_text(f"{EXPERIMENT}decide: acuracy\n")
    done = verb("sweep", "tiny", *FEW, "corpus=toy_recall", "--plugin", str(toys_measures.__file__))
    assert done.code == 2
    assert "decide.metric = 'acuracy': runs of variant 'flat' will not have it" in done.err
    assert not (folder / "results/tiny/sweep.db").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trials", "0"], "--trials 0: expected 1"),
        (["--workers", "0"], "--workers 0: expected at least 1"),
        (["--workers", "1000000"], "--workers: run.workers = 1000000: expected at most"),
        (["--timeout", "soon"], "--timeout soon: expected a time"),
        (["--confirm-seeds", "0,1000"], "1000 is the seed of the trials"),
        (["--confirm-seeds", "a"], "--confirm-seeds a: expected whole numbers"),
        (["--objectives", "bpb"], "expected --search as well"),
        (["--search", "--objectives", "bbp"], "did you mean 'bpb'"),
        (["--search", "--sampler", "grid"], "--sampler grid: expected tpe or nsga2"),
        (["--search", "flat", "four"], "sets out from one variant, and 2 are named"),
        (["--search", "model.head=parallel"], "model.head=parallel: the sweep searches it"),
        (["--storage", "mysql://x"], "--storage: mysql"),
        (["--storage", "my.db"], "--storage: not the URL of a database"),
        (["--storage", "mysql://x", "--dry-run"], "--storage: mysql"),
        (["--status", "--storage", "sqlite:///typo.db"], "typo.db: no such file"),
        (["--trials", "124", "--dry-run"], "--trials 124: a grid of powers of two has at most 123 points"),
        (["--status"], "results/tiny/sweep.db: no such file"),
        (["--as", "a/b"], "--as 'a/b': expected letters"),
        (["train.lr=0.1"], "train.lr=0.1: the sweep searches it"),
        (["flatt"], "did you mean 'flat'"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(folder: Path, verb: Verb, options: list[str], said: str) -> None:
    done = verb("sweep", "tiny", *options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert not list(folder.glob("results/tiny/*/*"))
    assert not (folder / "typo.db").exists()


def test_workers_that_memory_has_no_room_for_are_refused_with_both_numbers(
    folder: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    real: Callable[[], Any] = psutil.virtual_memory
    monkeypatch.setattr(psutil, "virtual_memory", lambda: real()._replace(available=1_000_000_000))
    done = verb("sweep", "tiny", "--workers", "8", "--dry-run")
    assert done.code == 2
    assert "--workers 8: about " in done.err
    assert "1.00 GB of memory are free; expected at most 3" in done.err
    assert verb("sweep", "tiny", "--workers", "3", "--dry-run").code == 0
    done = verb("run", "tiny", "--workers", "8", "--seeds", "0,1,2,3", "--dry-run")
    assert done.code == 2
    assert "--workers 8: about " in done.err
    assert verb("run", "tiny", "--workers", "8", "--seeds", "0", "--dry-run").code == 0  # two runs are all there are


def test_times_are_understood() -> None:
    assert [seconds_in(text) for text in ("90", "45s", "30m", "1.5h", "1d")] == [90, 45, 1800, 5400, 86400]
    for text in ("", "h", "-1", "0", "1w", "1h30m"):
        with pytest.raises(UserError, match="expected a time"):
            seconds_in(text)


SEARCH = """
search:
  objectives: [bpb, train_flops]
  space: {model.ratio: [2, 4], model.trunk.depth: {low: 1, high: 2}, model.head: [parallel, local_ar]}
"""


@pytest.mark.slow
def test_a_search_its_front_and_its_winners_against_the_baseline(folder: Path, verb: Verb) -> None:
    (folder / "experiments/tiny.yaml").write_text(EXPERIMENT + SEARCH)
    few = ["sweep", "tiny", "four", "--search", "--trials", "3", "--workers", "2", "budget={steps: 2}"]
    done = verb(*few, "--confirm", "1", "--confirm-seeds", "0,1", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["objectives"] == {"bpb": "lower", "train_flops": "lower"}
    assert found["pareto"]["front"]
    assert (folder / "results/tiny/pareto.md").is_file()
    path = folder / "results/tiny-search/tiny-search.yaml"
    assert path.is_file()
    assert [row["variant"] for row in found["comparison"]["rows"]] == ["flat", "best_bpb"]
    assert found["comparison"]["rows"][1]["trials"] == 3
    again = verb(*few, "--confirm", "1", "--confirm-seeds", "0,1")
    assert "the search is complete" in again.out
    assert "0 to train, 4 finished" in again.out
    run = verb("run", "tiny-search", "--dry-run")
    assert "0 to train, 4 finished" in run.out


@pytest.mark.slow
def test_every_variant_is_trained_on_as_many_bytes(folder: Path, verb: Verb) -> None:
    done = verb("sweep", "tiny", "--trials", "2", "--workers", "2", "budget={bytes: 1KB}", "--no-confirm")
    assert done.code == 0, done.err
    trained = {
        variant: [(Run(path).result or {})["train_bytes"] for path in Path("results/tiny", variant).glob("*/s1000")]
        for variant in ("flat", "four")
    }
    assert len(trained["flat"]) >= 3
    assert sum(trained["flat"]) == sum(trained["four"]) > 0
    assert len({*trained["flat"], *trained["four"]}) == 1


def test_a_budget_of_seconds_is_the_same_for_all_trials_of_a_variant(quick: Path, verb: Verb) -> None:
    done = verb("sweep", "tiny", "--trials", "3", "budget={seconds: 0.2}", "--no-confirm")
    assert done.code == 0, done.err
    for variant in ("flat", "four"):
        steps = [Run(path).info["steps"] for path in Path("results/tiny", variant).glob("*/s1000")]
        assert len(steps) >= 3
        assert len(set(steps)) == 1
        assert f"measured: {steps[0]} steps of {variant} fit into its budget" in done.out


def test_steps_are_measured_once_for_all_drivers_of_a_study(
    quick: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([10, 20, 5, 5, 5, 5])
    monkeypatch.setattr(lllm.search.trials, "measured_steps", lambda arm, seed: next(counts))
    few = ["sweep", "tiny", "budget={seconds: 0.2}", "--no-confirm", "--trials"]
    assert verb(*few, "1", "--timeout", "0.001s").code == 0
    done = verb(*few, "3")
    assert done.code == 0, done.err
    for variant, steps in (("flat", 10), ("four", 20)):
        runs = [Run(path) for path in Path("results/tiny", variant).glob("*/s1000")]
        assert len(runs) >= 3
        assert {run.info["steps"] for run in runs} == {steps}
        said = f"measured by the first driver of the study: {steps} steps of {variant} fit into its budget"
        assert said in done.out
    storage = open_storage(None, Path("results"), "tiny")
    study = optuna.load_study(study_name="tiny/flat/tune", storage=storage)
    there = {**study.user_attrs["measured"]["machine"], "device": "another"}
    study.set_user_attr("measured", {"steps": 10, "machine": there})
    assert "10 steps of flat fit into its budget (another, " in verb(*few, "6").out
    last = Run(Path("results") / study.get_trials()[-1].user_attrs["run"])
    assert (last.info["steps"], last.info["machine"]) == (10, there)


def test_a_search_from_a_variant_whose_budget_is_anothers_is_refused(folder: Path, verb: Verb) -> None:
    text = EXPERIMENT.replace("four: {", "deep: {budget: {flops: four}}\n  four: {")
    (folder / "experiments/tiny.yaml").write_text(text)
    done = verb("sweep", "tiny", "deep", "--search", "--trials", "2", "--dry-run")
    assert done.code == 2
    assert "budget.flops = 'four': the winners stand beside 'flat' alone" in done.err


@pytest.mark.parametrize("mode", [[], ["--search"], ["--search", "--objectives", "bpb"]])
def test_the_whole_search_block_is_looked_at_by_either_sweep(folder: Path, verb: Verb, mode: list[str]) -> None:
    for block, said in (
        ("{space: {model.mixer: [attention, nope]}}", "search.model.mixer: unknown mixer 'nope'"),
        ("{objectives: [acc]}", "objective 'acc': the results have no such metric"),
    ):
        (folder / "experiments/tiny.yaml").write_text(f"{EXPERIMENT}search: {block}\n")
        done = verb("sweep", "tiny", *FEW, *mode, "--dry-run")
        assert (done.code, done.out) == (2, "")
        assert said in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--confirm", "2"], "--confirm: is of a search; expected --search as well"),
        (["--search", "--all-fields"], "--all-fields: a search turns those of its parts anyway; expected one of them"),
        (["--no-confirm", "--confirm-seeds", "5"], "--confirm-seeds: with --no-confirm nothing is confirmed"),
        (["--search", "--objectives", "bpb,speed:higher"], "objective 'speed': the results have no such metric"),
    ],
)
def test_options_that_would_do_nothing_are_refused(folder: Path, verb: Verb, options: list[str], said: str) -> None:
    done = verb("sweep", "tiny", *options, "--dry-run")
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_status_tells_what_is_served_from_what_is_left(quick: Path, verb: Verb) -> None:
    assert verb("sweep", "tiny", *FEW, "--no-confirm").code == 0
    storage = open_storage(None, Path("results"), "tiny")
    study = optuna.load_study(study_name="tiny/flat/tune", storage=storage)
    trial = study.ask()
    dead = {**identity(), "started": identity()["started"] - 1000}
    trial.set_user_attr("driver", dead)
    assert "left by a driver that is gone: tiny/flat/tune trial" in verb("sweep", "tiny", "--status").out
    trial.set_user_attr("driver", {**identity(), "pid": os.getppid(), "started": parent_began()})
    assert "running: tiny/flat/tune trial" in verb("sweep", "tiny", "--status").out


def parent_began() -> float:
    return psutil.Process(os.getppid()).create_time()
