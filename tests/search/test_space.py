"""From the search block and the fields' annotations to what Optuna turns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field

from lllm.config import load_experiment
from lllm.config.search import AUTO, Choices, Range
from lllm.errors import UserError
from lllm.registry import PartConfig, Search
from lllm.search.sampling import Distinct, sampler
from lllm.search.space import Dimension, choice, chosen, dimension_of, layer_of, suggest, typed, written
from tests.launch.helpers import TINY, Place


class Config(PartConfig):
    depth: Annotated[int, Field(ge=1), Search(1, 4)] = 2
    share: Annotated[float, Field(ge=0, le=1), Search(0.25, 1.0, log=True)] = 0.5
    mode: Annotated[str, Search(choices=("a", "b"))] = "a"
    kernel: Annotated[int, Field(ge=2)] | None = None
    plain: int = 3


def of(name: str, declared: Any) -> Dimension:
    return dimension_of(f"model.x.{name}", declared, Config.model_fields[name], "file:3")


def test_a_field_says_itself_what_to_try() -> None:
    assert of("depth", AUTO).distribution == IntDistribution(1, 4)
    assert of("share", AUTO).distribution == FloatDistribution(0.25, 1.0, log=True)
    assert of("mode", AUTO).distribution == CategoricalDistribution(("a", "b"))


def test_a_declaration_overrules_it() -> None:
    assert of("depth", Range(low=2, high=8, log=True)).distribution == IntDistribution(2, 8, log=True)
    assert of("share", Range(low=0, high=1, step=0.5)).distribution == FloatDistribution(0.0, 1.0, step=0.5)
    assert of("kernel", Choices((None, 4, 8))).distribution == CategoricalDistribution((None, 4, 8))


@pytest.mark.parametrize(
    ("name", "declared", "said"),
    [
        ("plain", AUTO, "the field itself does not say what to try"),
        ("depth", Choices((0, 1)), "0: input should be greater than or equal to 1"),
        ("depth", Range(low=1.5, high=3), "1.5"),
        ("share", Range(low=0.5, high=2.0), "2.0: input should be less than or equal to 1"),
        ("kernel", Choices(("a", 4)), "'a'"),
    ],
)
def test_values_that_the_field_does_not_take_are_refused(name: str, declared: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"^file:3: model.x.{name}") as refused:
        of(name, declared)
    assert said in str(refused.value)


def test_a_part_brings_its_fields_only_where_it_is_chosen() -> None:
    dimensions = [
        choice("model.x", ["one", {"use": "two", "plain": 4}]),
        dimension_of("model.x.depth", AUTO, Config.model_fields["depth"], "", ("model.x", "two")),
    ]
    labels = dimensions[0].distribution.choices  # type: ignore[attr-defined]
    assert chosen(dimensions, {"model.x": "one"}) == {"model.x": "one"}
    params = {"model.x": labels[1], "model.x.depth": 3}
    fields = chosen(dimensions, params)
    assert fields == {"model.x": {"use": "two", "plain": 4}, "model.x.depth": 3}
    assert layer_of(fields, "").values == {"model": {"x": {"use": "two", "plain": 4, "depth": 3}}}
    assert typed(fields) == ['model.x={"use": "two", "plain": 4}', "model.x.depth=3"]


def test_what_is_written_tells_spaces_apart() -> None:
    def of_part(*names: str) -> list[Dimension]:
        return [dimension_of("model.x.depth", AUTO, Config.model_fields["depth"], "", ("model.x", n)) for n in names]

    mapping, text = choice("model.x", ["one", {"use": "two"}]), choice("model.x", ["one", '{"use": "two"}'])
    spaces = [of_part("one"), of_part("two"), of_part("one", "two"), [mapping], [text]]
    texts = [json.dumps(written(space)) for space in spaces]
    assert len(set(texts)) == len(texts)


def test_the_same_trial_is_proposed_whoever_asks() -> None:
    dimensions = [of("depth", AUTO), of("share", AUTO), of("mode", AUTO)]

    def run(restarts: bool) -> list[dict[str, Any]]:
        storage = optuna.storages.InMemoryStorage()
        found = []
        for number in range(12):
            if number == 0 or restarts:
                by = sampler("tpe", 1000, 12, {"model.x.depth": 2, "model.x.share": 3.0, "model.x.mode": "b"})
                study = optuna.create_study(storage=storage, study_name="x", sampler=by, load_if_exists=True)
            trial = study.ask()
            found.append(suggest(dimensions, trial))
            study.tell(trial, found[-1]["model.x.share"])
        return found

    first = run(restarts=False)
    assert first == run(restarts=True)
    assert (first[0]["model.x.depth"], first[0]["model.x.mode"]) == (2, "b")  # as it stands, where that may be
    assert 0.25 <= first[0]["model.x.share"] <= 1.0
    assert len({str(fields) for fields in first}) > 6


def test_a_proposal_repeats_no_earlier_one_and_is_none_that_is_refused_while_there_is_another() -> None:
    dimensions = [of("depth", AUTO), of("mode", AUTO)]  # eight, of which one cannot be trained
    space = {one.parameter: one.distribution for one in dimensions}
    start, bad = {"model.x.depth": 2, "model.x.mode": "b"}, {"model.x.depth": 3, "model.x.mode": "a"}

    def run(restarts: bool) -> list[dict[str, Any]]:
        storage = optuna.storages.InMemoryStorage()
        found = []
        for number in range(9):
            if number == 0 or restarts:
                by = Distinct(lambda again: sampler("tpe", 1000, 9, start, again), space, lambda some: some == bad)
                study = optuna.create_study(storage=storage, study_name="x", sampler=by, load_if_exists=True)
            trial = study.ask()
            suggest(dimensions, trial)
            found.append(trial.params)
            study.tell(trial, trial.params["model.x.depth"])
        return found

    found = run(restarts=False)
    assert found == run(restarts=True)
    assert found[0] == start
    first = [tuple(params.items()) for params in found[:7]]
    assert len(set(first)) == 7
    assert bad not in found[:7]


Block = Callable[[str], Any]


@pytest.fixture
def block(place: Place) -> Block:
    def read(text: str) -> Any:
        place.write(f"{TINY}search: {text}\n")
        return load_experiment("tiny").search

    return read


def test_the_block_is_read_in_both_of_its_forms(block: Block) -> None:
    plain = block("{model.head.depth: {low: 1, high: 4}, model.head: auto, model.ratio: [2, 4], train.lr: grid}")
    assert plain.dimensions == {
        "model.head.depth": Range(low=1, high=4),
        "model.head": "auto",
        "model.ratio": Choices((2, 4)),
        "train.lr": "grid",
    }
    assert plain.objectives == ()
    full = block("{objectives: [bpb, seconds], space: {model.head: {use: [a, b], depth: auto}}}")
    assert full.dimensions == {"model.head": Choices(("a", "b")), "model.head.depth": "auto"}
    assert full.objectives == ("bpb", "seconds")


def test_steps_that_reach_high_are_taken_as_they_are(block: Block) -> None:
    for low, high, step in ((0.1, 0.7, 0.2), (0.001, 0.091, 0.03), (1e-4, 1e-3, 1e-4), (8, 104, 16)):
        found = block(f"{{train.lr: {{low: {low}, high: {high}, step: {step}}}}}")
        assert found.dimensions == {"train.lr": Range(low=low, high=high, step=step)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model.ratio]", "expected a mapping"),
        ("{seeds: [0, 1]}", "a seed is never searched"),
        ("{space: {seed: [0, 1]}}", "a seed is never searched"),
        ("{budget.steps: [1, 2]}", "its trials could not be compared"),
        ("{modle.ratio: [1, 2]}", "did you mean 'model.ratio'"),
        ("{model.ratio: 4}", "expected a list of values"),
        ("{model.ratio: [4]}", "at least two different values"),
        ("{model.ratio: grid}", "expected a list of values"),
        ("{model.width: {low: 8, hihg: 16}}", "did you mean 'high'"),
        ("{model.width: {low: 16, high: 8}}", "expected low below high"),
        ("{train.lr: {low: 0, high: 1, log: true}}", "low above 0"),
        ("{train.lr: {low: 0.001, high: 0.1, step: 0.03}}", "expected a high that is whole steps above low, as 0.091"),
        ("{train.lr: {low: 0.1, high: 0.2, step: 5}}", "expected a high that is whole steps above low, as 5.1"),
        ("{train.lr: {low: 0, high: 1, step: 1.0e-300}}", "expected a step of which at most 1,000,000,000 lie between"),
        ("{model.width: {low: 8, high: 100, step: 16}}", "expected a high that is whole steps above low, as 104"),
        ("{objectives: bpb}", "expected a list of different names"),
        ("{model.ratio: [1, 2], space: {model.ratio: [2, 4]}}", "given twice"),
    ],
)
def test_a_block_that_makes_no_sense_is_refused_with_its_line(block: Block, text: str, said: str) -> None:
    with pytest.raises(UserError, match=r"^experiments/tiny.yaml:\d+: ") as refused:
        block(text)
    assert said in str(refused.value)
