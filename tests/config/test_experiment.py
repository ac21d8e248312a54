"""Experiment files: the question, its base, its variants; what is refused, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.config import list_experiments, load_experiment, resolve, split_words
from lllm.config.experiment import defaults
from lllm.config.tree import Tree
from lllm.errors import UserError
from lllm.launch.plan import rule_of
from lllm.registry import Registry
from tests.config.helpers import PLAIN, resolved, with_toys, write

FULL = """
hypothesis: >
  One
  sentence.
base: below
model.width: 64
variants:
  a: {model.head: parallel}
  b: {model: {head: {depth: 3}}, budget: {flops: a}}
  c:
baseline: b
seeds: [3, 1]
match: {params: 2%, knob: model.trunk.depth}
budget: {bytes: 20MB}
wandb: offline
"""
BELOW = """
hypothesis: of the base
data: {context: 64}
model: {width: 32, head: {use: local_ar, width: 16}}
seeds: [9]
variants: {x: {}}
match: {params: 1%}
"""


def test_a_file_says_everything(tmp_path: Path) -> None:
    write(tmp_path, BELOW, "below")
    write(tmp_path, FULL)
    experiment = load_experiment("toy", tmp_path)
    assert (experiment.name, experiment.base, experiment.hypothesis) == ("toy", "below", "One sentence.")
    assert list(experiment.variants) == ["a", "b", "c"]
    assert (experiment.baseline, experiment.seeds, experiment.decide.metric) == ("b", (3, 1), "bpb")
    assert experiment.match is not None
    assert (experiment.match.params, experiment.match.knob) == (0.02, "model.trunk.depth")
    assert experiment.layer("b").get("model.head") == {"use": "local_ar", "width": 16, "depth": 3}


def test_layers_lie_in_order(tmp_path: Path, registry: Registry) -> None:
    write(tmp_path, BELOW, "below")
    write(tmp_path, FULL)
    experiment = load_experiment("toy", tmp_path)
    b = resolve(experiment, "b", Tree(), with_toys(registry))
    assert (b.data.context, b.model.width, b.parts["mixer"].name) == (64, 64, "attention")
    assert b.parts["head"].to_node() | {"use": "local_ar", "depth": 3, "width": 16} == b.parts["head"].to_node()
    assert (b.budget.unit, b.budget.amount, b.budget.variant) == ("flops", "a", "a")
    assert b.run.wandb == "offline"
    _, overrides = split_words(["a", "model.width=16", "data.context=8", "budget.seconds=5"], experiment)
    a = resolve(experiment, "a", overrides, with_toys(registry))
    assert (a.model.width, a.data.context, a.budget.unit, a.budget.amount) == (16, 8, "seconds", 5.0)
    assert a.parts["head"].name == "parallel"


def test_defaults_of_a_short_file(tmp_path: Path) -> None:
    write(tmp_path, PLAIN)
    experiment = load_experiment("toy", tmp_path)
    assert (list(experiment.variants), experiment.baseline, experiment.seeds) == (["base"], "base", (0,))
    assert experiment.match is None
    assert load_experiment("experiments/toy.yaml", tmp_path).name == "toy"
    assert load_experiment(str(tmp_path / "experiments" / "toy.yaml")).variants == experiment.variants


@pytest.mark.parametrize(("by", "within"), [("params", 0.01), ("flops", 0.02), ("time", 0.05)])
def test_what_is_matched(tmp_path: Path, by: str, within: float) -> None:
    write(tmp_path, PLAIN + f"match: {{{by}: {100 * within:g}%}}\n")
    match = load_experiment("toy", tmp_path).match
    assert match is not None
    assert (match.by, match.within) == (by, within)


def test_the_first_variant_is_the_baseline(tmp_path: Path) -> None:
    write(tmp_path, PLAIN + "variants: {z: {}, a: {}}\n")
    assert load_experiment("toy", tmp_path).baseline == "z"


def test_shipped_experiments_resolve_and_the_defaults_are_not_one(tmp_path: Path, registry: Registry) -> None:
    listed = {line.name: line for line in list_experiments(tmp_path)}
    assert {"quickstart", "shakespeare"} <= set(listed)
    assert "defaults" not in listed
    for line in listed.values():
        assert (line.source, line.problem) == ("shipped", "")
        experiment = load_experiment(line.name, tmp_path)
        for variant in experiment.variants:
            resolve(experiment, variant, Tree(), with_toys(registry))
    with pytest.raises(UserError, match="unknown experiment 'defaults'"):
        load_experiment("defaults", tmp_path)


def test_the_working_directory_comes_first_and_a_broken_file_is_listed(tmp_path: Path) -> None:
    write(tmp_path, "hypothesis: mine\n", "quickstart")
    write(tmp_path, "- 1\n", "broken")
    listed = {line.name: line for line in list_experiments(tmp_path)}
    assert (listed["quickstart"].hypothesis, listed["quickstart"].source) == ("mine", "working directory")
    assert "expected a mapping" in listed["broken"].problem


@pytest.mark.parametrize(
    ("decide", "better"),
    [
        ("bpb", "lower"),
        ("seconds", "lower"),
        ("bytes_per_second", "higher"),
        ("{metric: generation_bytes_per_second, floor: 9}", "higher"),
        ("{metric: bytes_per_second, better: lower}", "lower"),
    ],
)
def test_of_two_speeds_the_higher_is_better(tmp_path: Path, decide: str, better: str) -> None:
    write(tmp_path, PLAIN + f"decide: {decide}\n")
    assert load_experiment("toy", tmp_path).decide.better == better


@pytest.mark.parametrize(
    ("seeds", "numbers", "unpaired"),
    [("[4, 2]", (4, 2), False), ("{unpaired: [4, 2]}", (4, 2), True), ("unpaired", (0,), True)],
)
def test_seeds_may_be_unpaired(tmp_path: Path, seeds: str, numbers: tuple[int, ...], unpaired: bool) -> None:
    """Which is part of the rule that runs record; those of a rule without it say nothing of it."""
    write(tmp_path, PLAIN + f"seeds: {seeds}\n")
    experiment = load_experiment("toy", tmp_path)
    assert (experiment.seeds, experiment.unpaired) == (numbers, unpaired)
    assert rule_of(experiment).unpaired is unpaired
    assert rule_of(experiment).written().get("unpaired", False) is unpaired


def test_an_experiment_that_a_search_wrote_is_found_by_name_after_all_others(tmp_path: Path) -> None:
    path = tmp_path / "results/found/found.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("hypothesis: of a search\n")
    assert load_experiment("found", tmp_path).path == path
    write(tmp_path, "hypothesis: mine\n", "found")
    assert load_experiment("found", tmp_path).hypothesis == "mine"


def test_a_default_part_of_each_kind_exists(registry: Registry) -> None:
    for path, name in defaults().leaves():
        kind = path.rpartition(".")[2]
        assert kind == "launcher" or name in registry.names(kind), path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("budget: {steps: 1}\n", "hypothesis: missing"),
        ("hypothesis: ''\n", r"toy.yaml:1: hypothesis = '': expected at least 1 character"),
        ("hypothesis: 3\n", r"toy.yaml:1: hypothesis = 3: expected a valid string"),
        (PLAIN + "hypotesis: x\n", r"toy.yaml:3: unknown key 'hypotesis'; did you mean 'hypothesis'"),
        (PLAIN + "lr: 1\n", r"toy.yaml:3: unknown key 'lr'; did you mean 'train.lr'"),
        (PLAIN + "seeds: [1, 1]\n", r"toy.yaml:3: seeds = \[1, 1\]: expected distinct seeds"),
        (PLAIN + "seeds: [-1]\n", r"toy.yaml:3: seeds.0 = -1: expected at least 0"),
        (PLAIN + "seeds: []\n", r"toy.yaml:3: seeds = \[\]: expected at least 1 item"),
        (PLAIN + "seeds: unpared\n", r"toy.yaml:3: seeds = 'unpared': expected a list, or {unpaired: \[0, 1, 2\]}"),
        (PLAIN + "seeds: {unpaired: [1, 1]}\n", r"toy.yaml:3: seeds = .*: expected distinct seeds"),
        (PLAIN + "seeds: {unpared: [1]}\n", r"toy.yaml:3: seeds = .*: expected a list, or {unpaired: \[0, 1, 2\]}"),
        (PLAIN + "seeds: 3\n", r"toy.yaml:3: seeds = 3: expected a valid list"),
        (PLAIN + "decide: 3\n", r"toy.yaml:3: decide = 3: expected "),
        (PLAIN + "decide: {metric: 'no name'}\n", r"toy.yaml:3: decide.metric = 'no name': expected a match"),
        (PLAIN + "decide: {floor: -1}\n", r"toy.yaml:3: decide.floor = -1: expected at least 0"),
        (PLAIN + "decide: {level: 95}\n", r"toy.yaml:3: decide.level = 95: expected less than 1"),
        (PLAIN + "decide: {lvel: 0.9}\n", r"toy.yaml:3: decide.lvel: unknown key 'lvel'; did you mean 'level'"),
        (PLAIN + "variants: {a: {}, b: {}}\nbaseline: c\n", r"toy.yaml:4: baseline = 'c': no such variant"),
        (PLAIN + "variants: {}\n", r"toy.yaml:3: variants = \{\}: expected a mapping"),
        (PLAIN + "variants: [a]\n", r"toy.yaml:3: variants = \['a'\]: expected a mapping"),
        (PLAIN + "variants: {a-b: {}}\n", r"toy.yaml:3: variant 'a-b': expected letters, digits"),
        (PLAIN + "variants: {../x: {}}\n", r"toy.yaml:3: (variant|key) '"),
        (PLAIN + "variants: {a: 3}\n", r"toy.yaml:3: variants.a = 3: expected a mapping"),
        (PLAIN + "variants: {a: {modle.width: 3}}\n", r"variants.a.modle: unknown key 'modle'; did you mean 'model'"),
        (PLAIN + "variants: {a: {seeds: [1]}}\n", r"toy.yaml:3: variants.a.seeds: unknown key 'seeds'"),
        (
            PLAIN + "match: {flops: 1%, time: 5%}\n",
            r"toy.yaml:3: match = .*: expected exactly one of params, flops, time",
        ),
        (
            PLAIN + "match: {knob: model.width}\n",
            r"toy.yaml:3: match = .*: expected exactly one of params, flops, time",
        ),
        (PLAIN + "match: {time: fast}\n", r"toy.yaml:3: match.time = 'fast': expected a share between 0 and 1"),
        (PLAIN + "match: {flops: }\n", r"toy.yaml:3: match.flops = None: expected a share"),
        (PLAIN + "match: {params: 1}\n", r"match.params = 1: expected a share between 0 and 1"),
        (PLAIN + "match: {params: 0%}\n", r"match.params = '0%': expected a share"),
        (
            PLAIN + "match: {parms: 1%}\n",
            r"match.parms: unknown key 'parms'; did you mean 'params'|match.params: missing",
        ),
        (PLAIN + "match: {params: 1%, knob: width}\n", r"match.knob = 'width': expected a match of the"),
        (PLAIN + "match: 1%\n", r"toy.yaml:3: match = '1%': expected a mapping"),
        (PLAIN + "base: quickstrat\n", r"toy.yaml:3: base: unknown experiment 'quickstrat'; did you mean 'quickstart'"),
        (PLAIN + "base: toy\n", r"toy.yaml:3: base = 'toy': it has a base itself, 'toy'; expected one level"),
        (PLAIN + "base: [a]\n", r"toy.yaml:3: base = \['a'\]: expected a valid string"),
        (PLAIN + "model: 3\n", r"toy.yaml:3: model = 3: expected a mapping"),
        (PLAIN + "model:\n", r"toy.yaml:3: model = None: expected a mapping"),
        (PLAIN + "wandb: off\nrun: {wandb: online}\n", r"toy.yaml:4: run.wandb: given twice"),
        ("hypothesis: no budget\n", "budget: missing; expected one of steps, bytes, flops, seconds"),
    ],
)
def test_a_malformed_experiment_is_refused_where_it_is_wrong(
    tmp_path: Path, registry: Registry, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resolved(tmp_path, registry, text)


def test_a_base_never_has_a_base(tmp_path: Path) -> None:
    write(tmp_path, PLAIN + "base: quickstart\n", "middle")
    write(tmp_path, PLAIN + "base: middle\n")
    with pytest.raises(UserError, match=r"toy.yaml:3: base = 'middle': it has a base itself, 'quickstart'"):
        load_experiment("toy", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quickstrat", "unknown experiment 'quickstrat'; did you mean 'quickstart'"),
        ("absent.yaml", "experiment 'absent.yaml': no such file"),
        ("experiments", "unknown experiment"),
        ("", "unknown experiment ''"),
        ("experiments/", "no such file"),
        ("../x y.yaml", "letters, digits"),
    ],
)
def test_an_unknown_experiment_is_refused(tmp_path: Path, name: str, message: str) -> None:
    inside = tmp_path / "inside"
    write(inside, PLAIN)
    (tmp_path / "x y.yaml").write_text(PLAIN)
    with pytest.raises(UserError, match=message):
        load_experiment(name, inside)


def test_an_unknown_variant_is_refused_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, PLAIN + "variants: {local_ar: {}}\n")
    with pytest.raises(UserError, match="toy: unknown variant 'locl_ar'; did you mean 'local_ar'"):
        load_experiment("toy", tmp_path).layer("locl_ar")
