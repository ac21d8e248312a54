"""tuned.yaml: written by a sweep, used as a layer between variant and command line, refused when it is stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lllm.config import Tree, load_experiment, resolve, split_words
from lllm.errors import UserError
from lllm.registry import Registry
from lllm.search.winners import (
    Tried,
    Tuned,
    Winner,
    definition_of,
    read_tuned,
    tuned_path,
    with_tuned,
    write_tuned,
    write_winners,
)
from tests.launch.helpers import Place
from tests.search.sweeps import TWO

ROOT = Path("results")


TERMS = {"budget": {"steps": 20}, "data": "d", "evaluator": "e", "code": "c"}
TRIED = (Tried(0, {"train.lr": 0.01}, 2.75), Tried(1, {"train.lr": 0.02}, None))


def tuned_of(fields: Mapping[str, Mapping[str, Any]], **changes: Any) -> Tuned:
    experiment = load_experiment("tiny")
    winners = {
        name: Winner(
            fields=some,
            trials=8,
            trained=5,
            terms=TERMS,
            trial=3,
            value=2.5,
            sensitivity={"0.5x": 2.75, "1x": 2.5},
            definition=definition_of(experiment, name),
            tried=TRIED,
        )
        for name, some in fields.items()
    }
    return replace(Tuned("tiny", "bpb", ("budget={steps: 20}",), 1000, "tune", "sweep.db", winners), **changes)


@pytest.fixture
def two(place: Place) -> Place:
    place.write(TWO)
    return place


def test_what_is_written_is_read_again(two: Place) -> None:
    tuned = tuned_of({"one": {"train.lr": 1e-5, "model.head.depth": 2, "model.head.mixer": "attention"}})
    path = write_tuned(ROOT, tuned)
    assert path == tuned_path(ROOT, "tiny")
    assert read_tuned(ROOT, "tiny") == tuned
    text = path.read_text()
    assert "lllm run tiny --tuned" in text
    assert "    fields:\n      train.lr: 1e-05\n" in text  # for people as well
    one = tuned.winners["one"]
    sensitivity = {"0.5x": 2.75, "1x": 2.5}
    known = {
        "trials": 8,
        "trained": 5,
        "terms": TERMS,
        "fields": one.fields,
        "sensitivity": sensitivity,
        "tried": [
            {"trial": 0, "fields": {"train.lr": 0.01}, "value": 2.75},
            {"trial": 1, "fields": {"train.lr": 0.02}, "value": None},
        ],
    }
    assert tuned.extra("one") == {"tuned": {**known, "overrides": ["budget={steps: 20}"]}}


def test_variants_that_were_not_swept_again_keep_their_entries_on_the_same_terms_only(two: Place) -> None:
    write_tuned(ROOT, tuned_of({"one": {"train.lr": 0.5}}))
    write_tuned(ROOT, tuned_of({"two": {"train.lr": 0.25}}))
    assert {k: v.fields for k, v in read_tuned(ROOT, "tiny").winners.items()} == {
        "one": {"train.lr": 0.5},
        "two": {"train.lr": 0.25},
    }
    write_tuned(ROOT, tuned_of({"two": {"train.lr": 0.125}}, overrides=()))
    assert list(read_tuned(ROOT, "tiny").winners) == ["two"]


def test_the_fields_lie_between_the_variant_and_the_command_line(two: Place, registry: Registry) -> None:
    tuned = tuned_of({"one": {"train.lr": 0.5, "model.head.depth": 3}, "two": {"train.lr": 0.25}})
    experiment = with_tuned(load_experiment("tiny"), tuned, ["one", "two"], "tuned.yaml")
    one = resolve(experiment, "one", Tree(), registry)
    assert (one.train.lr, one.parts["head"].to_node()["depth"]) == (0.5, 3)
    assert one.layer.origin("train.lr") == "tuned.yaml"
    two_ = resolve(experiment, "two", Tree(), registry)
    assert (two_.train.lr, two_.parts["head"].name) == (0.25, "parallel")  # its own deltas stay, and no other's come
    _, overrides = split_words(["train.lr=0.75"], experiment)
    assert resolve(experiment, "two", overrides, registry).train.lr == 0.75


def test_missing_stale_and_damaged_entries_name_the_sweep(two: Place) -> None:
    with pytest.raises(UserError, match=r"^results/tiny/tuned.yaml: no such file; .*`lllm sweep tiny`"):
        read_tuned(ROOT, "tiny")
    experiment, tuned = load_experiment("tiny"), tuned_of({"one": {"train.lr": 0.5}})
    with pytest.raises(UserError, match=r"'two' is not in it; expected `lllm sweep tiny` first"):
        with_tuned(experiment, tuned, ["one", "two"], "tuned.yaml")
    two.write(TWO.replace("depth: 1}}\n", "depth: 2}}\n"))
    with pytest.raises(UserError, match=r"'one' has changed since it was tuned; expected `lllm sweep tiny` first"):
        with_tuned(load_experiment("tiny"), tuned, ["one"], "tuned.yaml")
    two.write(TWO.replace("steps: 6", "steps: 60"))  # longer, but what it was
    assert with_tuned(load_experiment("tiny"), tuned, ["one"], "tuned.yaml").variants
    write_tuned(ROOT, tuned)
    whole = tuned_path(ROOT, "tiny").read_text()
    for text, said in (
        ("hello", "expected a mapping of settings"),
        ("variants: {one: 3}", r"damaged \(experiment: missing"),
        (whole.replace("trials: 8", "trials: x"), r"damaged \(variants\.one\.trials = 'x'"),
        (whole.replace("value: 2.75", "value: x"), r"damaged \(variants\.one\.tried\.0\.value = 'x'"),
    ):
        tuned_path(ROOT, "tiny").write_text(text)
        with pytest.raises(UserError, match=rf"tuned\.yaml.*{said}"):
            read_tuned(ROOT, "tiny")


def test_the_winners_experiment_stands_alone(two: Place, registry: Registry) -> None:
    two.write(TWO + "baseline: two\nmatch: {params: 20%}\n")
    experiment = load_experiment("tiny")
    _, overrides = split_words(["train.batch=2", "workers=2"], experiment)
    fields = {"best_bpb": {"model.head": "local_ar", "model.head.depth": 3, "train.lr": 1e-5}}
    path = write_winners(ROOT / "tiny" / "x.yaml", experiment, overrides, "two", fields, [5, 6, 7], "So it is.")
    two.write("no longer an experiment\n")
    alone = load_experiment(str(path))
    assert (alone.base, alone.baseline, alone.seeds, list(alone.variants)) == (
        None,
        "two",
        (5, 6, 7),
        ["two", "best_bpb"],
    )
    assert alone.hypothesis == "So it is."
    assert alone.match == experiment.match
    best = resolve(alone, "best_bpb", Tree(), registry)
    assert (best.train.lr, best.train.batch, best.run.workers) == (1e-5, 2, 2)
    assert best.parts["head"].to_node()["depth"] == 3
    before = resolve(experiment, "two", overrides, registry)
    assert resolve(alone, "two", Tree(), registry).delta() == before.delta()
