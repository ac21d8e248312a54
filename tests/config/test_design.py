"""Designs: which variants are made of a stack of deltas, and which stacks are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.config import load_experiment, resolve, split_words
from lllm.config.tree import Tree
from lllm.errors import UserError
from lllm.registry import Registry
from tests.config.helpers import PLAIN, with_toys, write

STACK = """\
stack:
  head:  {model.head: {use: local_ar, depth: 2}}
  wide:  {model.width: 32, wandb: offline}
  slow:  {train.lr: 1e-4}
"""


def names(cwd: Path, text: str) -> list[str]:
    write(cwd, PLAIN + text)
    return list(load_experiment("toy", cwd).variants)


def test_leave_one_out_leaves_each_out_of_all(tmp_path: Path, registry: Registry) -> None:
    assert names(tmp_path, STACK + "design: leave_one_out\n") == [
        "full",
        "without_head",
        "without_wide",
        "without_slow",
    ]
    experiment = load_experiment("toy", tmp_path)
    assert experiment.baseline == "full"
    assert experiment.design is not None
    assert (experiment.design.kind, experiment.design.factors) == ("leave_one_out", ("head", "wide", "slow"))
    assert experiment.design.of == {
        "full": ("head", "wide", "slow"),
        "without_head": ("wide", "slow"),
        "without_wide": ("head", "slow"),
        "without_slow": ("head", "wide"),
    }
    registry = with_toys(registry)
    full = resolve(experiment, "full", Tree(), registry)
    assert (full.parts["head"].config.model_dump()["depth"], full.model.width, full.lr) == (2, 32, 1e-4)
    assert full.run.wandb == "offline"
    narrow = resolve(experiment, "without_wide", Tree(), registry)
    assert (narrow.parts["head"].config.model_dump()["depth"], narrow.run.wandb, narrow.lr) == (2, "off", 1e-4)
    assert narrow.model.width != 32


def test_add_one_in_adds_each_to_none(tmp_path: Path) -> None:
    assert names(tmp_path, STACK + "design: add_one_in\n") == ["none", "with_head", "with_wide", "with_slow"]
    experiment = load_experiment("toy", tmp_path)
    assert experiment.variants["none"].values == {}
    assert dict(experiment.variants["with_slow"].leaves()) == {"train.lr": 1e-4}
    assert names(tmp_path, "design: add_one_in\nstack: {slow: {train.lr: 1e-4}}\n") == ["none", "with_slow"]


def test_a_full_factorial_has_every_combination_in_the_stacks_order(tmp_path: Path) -> None:
    found = names(tmp_path, STACK + "design: full_factorial\nbaseline: head_slow\n")
    assert found == ["none", "head", "wide", "head_wide", "slow", "head_slow", "wide_slow", "head_wide_slow"]
    experiment = load_experiment("toy", tmp_path)
    assert experiment.baseline == "head_slow"
    assert experiment.design is not None
    assert experiment.design.of["wide_slow"] == ("wide", "slow")
    assert dict(experiment.variants["wide_slow"].leaves()) == {
        "model.width": 32,
        "run.wandb": "offline",
        "train.lr": 1e-4,
    }


def test_overrides_lie_over_a_designed_variant(tmp_path: Path, registry: Registry) -> None:
    write(tmp_path, PLAIN + STACK + "design: full_factorial\n")
    experiment = load_experiment("toy", tmp_path)
    variants, overrides = split_words(["head_wide", "model.width=64", "model.head.depth=3"], experiment)
    found = resolve(experiment, *variants, overrides, with_toys(registry))
    assert (found.model.width, found.parts["head"].config.model_dump()["depth"]) == (64, 3)


def test_where_a_setting_came_from_is_still_known(tmp_path: Path, registry: Registry) -> None:
    write(tmp_path, PLAIN + "design: full_factorial\nstack:\n  a: {train.lr: 1e-4}\n  b: {model.width: wide}\n")
    with pytest.raises(UserError, match=r"toy.yaml:6: model.width = 'wide'"):
        resolve(load_experiment("toy", tmp_path), "a_b", Tree(), with_toys(registry))


def test_a_listed_experiment_has_no_design(tmp_path: Path) -> None:
    write(tmp_path, PLAIN)
    assert load_experiment("toy", tmp_path).design is None


SEVEN = ", ".join(f"f{i}: {{{path}: 1}}" for i, path in enumerate(
    ["model.width", "model.token_width", "data.context", "data.multiple", "train.batch", "train.clip", "eval.bytes"]
))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("design: leave_one_out\n", r"toy.yaml:3: design: given without stack; expected both, or variants"),
        ("stack: {a: {train.lr: 1.0}}\n", r"toy.yaml:3: stack: given without design; expected both"),
        (STACK + "design: add_one_in\nvariants: {a: {}}\n", r"toy.yaml:8: variants: given beside a design"),
        (STACK + "design: leave_one_in\n", r"design = 'leave_one_in': no such design; did you mean 'leave_one_out'"),
        (STACK + "design: 3\n", r"toy.yaml:7: design = 3: no such design; valid: leave_one_out, add_one_in, full_"),
        (STACK + "desing: add_one_in\n", r"toy.yaml:7: unknown key 'desing'; did you mean 'design'"),
        (
            "design: leave_one_out\nstack: {a: {train.lr: 1.0}}\n",
            r"toy.yaml:4: stack: 1 delta; leave_one_out expects 2 or",
        ),
        ("design: full_factorial\nstack: {a: {train.lr: 1.0}}\n", r"stack: 1 delta; full_factorial expects 2 or more"),
        ("design: add_one_in\nstack: {}\n", r"toy.yaml:4: stack = \{\}: expected a mapping, name to deltas"),
        ("design: add_one_in\nstack: {a: {}}\n", r"toy.yaml:4: stack.a: changes nothing; expected a setting"),
        ("design: add_one_in\nstack: {a: }\n", r"toy.yaml:4: stack.a: changes nothing"),
        ("design: add_one_in\nstack: {a: 3}\n", r"toy.yaml:4: stack.a = 3: expected a mapping"),
        ("design: add_one_in\nstack: {a-b: {train.lr: 1.0}}\n", r"delta 'a-b': expected letters, digits"),
        ("design: add_one_in\nstack: {a: {seeds: [1]}}\n", r"stack.a.seeds: unknown key 'seeds'"),
        (f"design: full_factorial\nstack: {{{SEVEN}}}\n", r"stack: 7 deltas make 128 variants; .* expects at most 6"),
        (
            "design: full_factorial\nstack: {a: {model.head: parallel}, b: {model.head.depth: 3}}\n",
            r"stack.b: sets model.head.depth, and a sets model.head; expected deltas that can be switched on in any",
        ),
        (
            "design: leave_one_out\nstack: {a: {model: {head.depth: 2}}, b: {model.head: {use: local_ar}}}\n",
            r"stack.b: sets model.head, and a sets model.head.depth",
        ),
        (
            "design: add_one_in\nstack: {a: {budget: {steps: 2}}, b: {budget: {bytes: 1MB}}}\n",
            r"stack.b: sets budget, and a sets budget",
        ),
        (
            "design: full_factorial\nstack: {a: {train.lr: 1.0}, b: {train.clip: 1.0}, a_b: {train.batch: 1}}\n",
            r"stack: two variants would be named 'a_b'",
        ),
        (
            "design: full_factorial\nstack: {none: {train.lr: 1.0}, b: {train.clip: 1.0}}\n",
            r"stack: two variants would be named 'none'",
        ),
        (
            f"design: full_factorial\nstack: {{{'a' * 40}: {{train.lr: 1.0}}, {'b' * 40}: {{train.clip: 1.0}}}}\n",
            r"stack: variant 'a+_b+' has a name of over 64 letters",
        ),
        (STACK + "design: add_one_in\nbaseline: head\n", r"baseline = 'head': no such variant"),
    ],
)
def test_a_malformed_design_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, PLAIN + text)
    with pytest.raises(UserError, match=message) as refusal:
        load_experiment("toy", tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_design_is_no_setting_of_the_command_line(tmp_path: Path) -> None:
    write(tmp_path, PLAIN + STACK + "design: add_one_in\n")
    with pytest.raises(UserError, match=r"'design' stands in the experiment's file"):
        split_words(["design=full_factorial"], load_experiment("toy", tmp_path))
