"""The words of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.config import Experiment, load_experiment, split_words
from lllm.errors import UserError
from tests.config.helpers import PLAIN, write


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    write(tmp_path, PLAIN + "variants: {flat: {}, parallel: {}, local_ar: {}}\n")
    return load_experiment("toy", tmp_path)


def test_words_are_variants_or_overrides_in_any_order(experiment: Experiment) -> None:
    words = ["train.lr=1e-3", "local_ar", "model.head.depth=4", "model.head=var", "flat", "budget={steps: 60}"]
    variants, layer = split_words(words, experiment)
    assert variants == ("local_ar", "flat")
    assert layer.values == {
        "train": {"lr": 0.001},
        "model": {"head": {"use": "var", "depth": 4}},
        "budget": {"steps": 60},
    }
    assert layer.origin("model.head.depth") == "command line"


def test_no_variant_means_all_of_them(experiment: Experiment) -> None:
    assert split_words([], experiment) == (("flat", "parallel", "local_ar"), split_words([], experiment)[1])


def test_execution_settings_may_stand_alone(experiment: Experiment) -> None:
    layer = split_words(["wandb=offline", "run.nproc=2", "device=cuda:1"], experiment)[1]
    assert layer.values == {"run": {"wandb": "offline", "nproc": 2, "device": "cuda:1"}}


def test_a_value_may_hold_equals_signs(experiment: Experiment) -> None:
    assert split_words(["corpus.path=a=b c"], experiment)[1].values == {"corpus": {"path": "a=b c"}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["locl_ar"], "experiment 'toy' has no variant 'locl_ar'; did you mean 'local_ar'"),
        (["flat", "flat"], "variant 'flat' is given twice"),
        (["modle.head=x"], "modle.head=x: unknown key 'modle.head'"),
        (["lr=3"], "lr=3: unknown key 'lr'; did you mean 'train.lr'"),
        (["wadnb=off"], "unknown key 'wadnb'; did you mean 'wandb'"),
        (["seeds=[1]"], "'seeds' stands in the experiment's file"),
        (["variants.flat.model.width=3"], "'variants' stands in the experiment's file"),
        (["corpus.path=\udcff"], r"command line: 'corpus.path=.udcff': expected Unicode text"),
        (["=3"], "unknown key ''"),
        (["train.lr="], "train.lr=: no value; expected train.lr=VALUE"),
        (["train.lr=1", "train.lr=2"], "command line: train.lr: given twice"),
        (["model.head=a", "model.head.use=b"], "command line: model.head.use: given twice"),
        (["wandb=off", "run.wandb=off"], "command line: run.wandb: given twice"),
        (["model..width=3"], "key 'model..width': expected names joined by single dots"),
        (["budget={steps: 1"], "not YAML"),
        (["train.lr=.nan"], "expected a finite number"),
    ],
)
def test_words_that_mean_nothing_are_refused(experiment: Experiment, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_words(words, experiment)
