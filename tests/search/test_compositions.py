"""A search over compositions: its dimensions, its front, its winners, and what it says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from lllm.errors import UserError
from lllm.registry import Registry
from lllm.search.pareto import facts, importance_lines, rows, said, write_pareto
from tests.launch.helpers import TINY, Place
from tests.search.sweeps import searching_of, served

BLOCK = """\
variants: {one: {model.head: parallel}}
search:
  model.ratio: auto
  model.downsampler: [concat, conv]
  model.head: [local_ar, parallel]
  model.head.depth: [1, 2]
  model.trunk.depth: {low: 1, high: 3}
  train.optimizer: auto
  train.lr: grid
"""


@pytest.fixture
def tiny(place: Place) -> Place:
    place.write(TINY + BLOCK)
    return place


def ask(search: Any, **params: Any) -> optuna.trial.FrozenTrial:
    """A trial of these parameters, the others as the sampler has them."""
    study = search.study
    study.enqueue_trial(params)
    with pytest.warns(UserWarning, match="Heartbeat"):  # the driver beats
        trial = study.ask()
    run = search.jobs()[0].propose(trial)
    trial.set_user_attr("arm", run.arm.identity)
    found: optuna.trial.FrozenTrial = study.get_trials()[trial.number]
    return found


def test_a_part_brings_its_fields_and_parameters_of_one_name_are_kept_apart(tiny: Place, registry: Registry) -> None:
    dimensions = searching_of(registry, 4).dimensions
    named = {one.parameter: one.when for one in dimensions}
    assert named["model.head.depth"] == ("model.head", "local_ar")  # by the block, in place of its own
    assert named["model.downsampler.pool"] == ("model.downsampler", "conv")
    assert {"train.lr@muon", "train.lr@adamw", "train.optimizer.beta2"} <= named.keys()
    assert {name for name, when in named.items() if when is None} == {
        "model.ratio",
        "model.downsampler",
        "model.head",
        "model.trunk.depth",
        "train.optimizer",
    }
    ratio = next(one for one in dimensions if one.path == "model.ratio")
    assert ratio.distribution.choices == (1, 2, 4, 8)


def test_without_a_block_every_kind_with_two_parts_is_searched(place: Place, registry: Registry) -> None:
    paths = {one.path for one in searching_of(registry, 4).dimensions}
    assert {"model.head", "model.downsampler", "model.ffn", "model.ratio"} <= paths
    assert "model.block" not in paths  # there is one
    trunks = [one for one in searching_of(registry, 4).dimensions if one.path == "model.trunk"]
    assert not trunks  # 'pattern' must be told its mixers, so that one is left


def test_a_trial_is_the_composition_that_its_parameters_say(tiny: Place, registry: Registry) -> None:
    search = searching_of(registry, 4)
    trial = ask(search, **{"model.head": "parallel", "model.ratio": 2, "model.trunk.depth": 3})
    run = search.planned(trial)
    model = run.arm.resolved.semantic()["model"]
    assert (model["head"]["use"], model["ratio"], model["trunk"]) == ("parallel", 2, {"use": "uniform", "depth": 3})
    assert run.path.parts[:3] == ("results", "tiny", "one")  # in the base's directory
    told = run.extra["trial"]
    assert (told["study"], told["number"]) == ("tiny/search", trial.number)
    assert told["fields"] | {"model.head": "parallel", "model.ratio": 2} == told["fields"]
    assert "model.head=parallel" in run.extra["overrides"]
    assert run.seed == 1000


def test_a_chosen_part_stands_as_the_composition_has_it(place: Place, registry: Registry) -> None:
    block = "variants: {one: {model.head: {use: parallel, hidden: 7}}}\nsearch: {model.head: [local_ar, parallel]}\n"
    place.write((TINY + block).replace("depth: 1}}\n", "depth: 1, width: 6}}\n"))
    search = searching_of(registry, 4)
    head = search.planned(ask(search, **{"model.head": "local_ar"})).arm.resolved.parts["head"].to_node()
    assert head["width"] == 6
    head = search.planned(ask(search, **{"model.head": "parallel"})).arm.resolved.parts["head"].to_node()
    assert head["hidden"] is None  # that of the variant is for the variant


def test_compositions_are_matched_to_the_baseline_that_they_set_out_from(tiny: Place, registry: Registry) -> None:
    tiny.write(TINY.replace("width: 16", "width: 32") + BLOCK + "match: {params: 5%}\n")
    search = searching_of(registry, 4)
    arm = search.planned(ask(search, **{"model.head": "local_ar", "model.ratio": 4, "model.trunk.depth": 1})).arm
    base = search.trials.arms.arm("one")
    assert arm.matched
    assert arm.variant == "one"
    assert abs(arm.parameters / base.parameters - 1) <= 0.05


def test_what_cannot_be_built_is_told_infeasible_and_the_search_ends(place: Place, registry: Registry) -> None:
    block = "search: {model.ratio: [1, 4], model.downsampler: [concat, identity]}\n"
    place.write(TINY + block)
    search = searching_of(registry, 8)
    served(search)
    assert search.complete
    found = facts(search)
    states = {trial["state"] for trial in found["trials"]}
    assert states == {"complete", "infeasible"}
    assert all("identity" in trial["reason"] for trial in found["trials"] if trial["state"] == "infeasible")
    again = searching_of(registry, 8)
    assert again.complete
    with pytest.raises(UserError, match="--as NEWNAME"):
        searching_of(registry, 8, names=("bpb", "seconds"))


def told(search: Any, *values: tuple[float, ...]) -> None:
    """Complete trials of these values."""
    names = {one.parameter: one.distribution for one in search.dimensions if one.when is None}
    for i, some in enumerate(values):
        chosen = {name: _of(among, i) for name, among in names.items()}
        search.study.add_trial(optuna.create_trial(params=chosen, distributions=names, values=some))


def _of(among: Any, i: int) -> Any:
    choices = getattr(among, "choices", None) or range(among.low, among.high + 1)
    return choices[i % len(choices)]


GOALS = ("bpb", "generation_bytes_per_second")


def test_the_front_its_knee_and_its_ends(tiny: Place, registry: Registry) -> None:
    search = searching_of(registry, 6, names=GOALS)
    told(search, (3.0, 900.0), (2.0, 100.0), (2.2, 800.0), (2.5, 700.0), (2.0, 100.0), (3.5, 850.0))
    assert [trial.number for trial in search.front()] == [1, 2, 0]  # 4 is as 1, 3 and 5 are beaten
    winners = {name: trial.number for name, trial in search.winners(3).items()}
    assert winners == {"best_bpb": 1, "knee": 2, "best_generation_bytes_per_second": 0}
    assert list(search.winners(1)) == ["best_bpb"]


def test_what_is_written_of_it(tiny: Place, registry: Registry) -> None:
    search = searching_of(registry, 12, names=GOALS)
    told(search, (3.0, 900.0), (2.0, 100.0), (2.5, 80.0))
    found = facts(search)
    assert found["front"] == [1, 0]
    assert importance_lines(found) == ["no importances: fewer than 10 complete trials"]
    told(search, *((2.0 + i % 3, 50.0 + i) for i in range(9)))
    found = facts(search)
    assert found["importances"].keys() == set(GOALS)
    assert all(abs(sum(shares.values()) - 1) < 1e-6 for shares in found["importances"].values())
    headers, cells = rows(found)
    assert headers == ["trial", *GOALS, "composition"]
    assert [row[0] for row in cells] == ["1", "0"]
    assert "One seed each: nothing is claimed before the winners are confirmed." in said(found)
    path = write_pareto(Path(), found)
    assert json.loads(Path("pareto.json").read_text())["front"] == [1, 0]
    assert "| 1 | 2.0000 | 100.0000 |" in path.read_text()
    assert "what decides bpb: " in path.read_text()


@pytest.mark.parametrize(
    ("names", "said_"),
    [
        (("bbp",), "objective 'bbp': the results have no such metric; did you mean 'bpb'"),
        (("bpb", "bpb"), "given twice"),
        (("bpb:best",), "expected bpb:lower or bpb:higher"),
    ],
)
def test_an_objective_that_no_result_has_is_refused(
    tiny: Place, registry: Registry, names: tuple[str, ...], said_: str
) -> None:
    with pytest.raises(UserError, match=said_):
        searching_of(registry, 4, names=names)


@pytest.mark.parametrize(
    ("block", "said_"),
    [
        ("{model.head: [local_ar, paralel]}", "search.model.head: unknown head 'paralel'; did you mean 'parallel'"),
        ("{model.head: [parallel, local_ar], model.head.dept: [1, 2]}", "there is no such field; did you mean"),
        ("{model.head: {low: 1, high: 2}}", "expected a list of heads"),
        ("{model.block: auto}", "there is only one block"),
    ],
)
def test_a_block_that_names_what_is_not_there_is_refused(
    place: Place, registry: Registry, block: str, said_: str
) -> None:
    place.write(f"{TINY}search: {block}\n")
    with pytest.raises(UserError, match=said_):
        searching_of(registry, 4)


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ("{model.downsampler: [concat, conv]}", ("downsampler", "conv")),
        ("{model.head.ffn: [swiglu, relu2]}", ("ffn", "relu2")),
        ("{model.head: [parallel, {use: local_ar, ffn: relu2}]}", ("ffn", "relu2")),
        ("{model.head: [parallel, local_ar], model.head.ffn: [swiglu, relu2]}", ("ffn", "relu2")),
    ],
)
def test_an_edited_part_that_is_only_a_choice_makes_another_search(
    place: Place, registry: Registry, block: str, part: tuple[str, str]
) -> None:
    place.write(f"{TINY}search: {block}\n")

    def edited(digest: str) -> Registry:
        return replace(registry, entries={**registry.entries, part: replace(registry.entries[part], digest=digest)})

    assert searching_of(edited("a"), 4).study.study_name == searching_of(edited("a"), 8).study.study_name
    kind, name = part
    with pytest.raises(UserError, match=rf"begun under other terms: now parts\.{kind} {name}=\['b', 1\]; expected"):
        searching_of(edited("b"), 4)


def test_what_the_composition_says_of_a_part_that_may_be_chosen_is_of_the_search(
    place: Place, registry: Registry
) -> None:
    block = "variants: {one: {model.head: parallel}}\nsearch: {model.head: [local_ar, parallel]}\n"
    place.write(TINY + block)
    searching_of(registry, 4)
    place.write((TINY + block).replace("depth: 1}}\n", "depth: 1, width: 6}}\n"))
    with pytest.raises(UserError, match=r"now chosen\.model\.head\.local_ar\.width=6; expected --as NEWNAME"):
        searching_of(registry, 4)


def test_directions_are_known_and_speed_is_maximised(tiny: Place, registry: Registry) -> None:
    search = searching_of(registry, 4, names=("bpb", "train_flops", "generation_bytes_per_second"))
    assert [one.direction for one in search.objectives] == ["minimize", "minimize", "maximize"]
    assert search.by == "nsga2"
