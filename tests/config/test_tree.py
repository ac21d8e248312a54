"""How one layer of settings lies over another."""

from __future__ import annotations

from typing import Any

import pytest

from lllm.config.tree import Tree, merge


def layer(origin: str, **values: Any) -> Tree:
    tree = Tree()
    for path, value in values.items():
        tree.put(path.replace("__", "."), value, origin)
    return tree


@pytest.mark.parametrize(
    ("above", "head"),
    [
        ({"model__head": "b"}, "b"),
        ({"model__head": {"use": "b"}}, {"use": "b"}),
        ({"model__head": {"use": "a"}}, {"use": "a"}),  # the same name starts from its defaults
        ({"model__head__use": "b"}, {"use": "b"}),
        ({"model__head": {"depth": 3}}, {"use": "a", "depth": 3, "inner": "x"}),
        ({"model__head__depth": 3}, {"use": "a", "depth": 3, "inner": "x"}),
        ({"model__head": "b", "model__head__depth": 3}, {"use": "b", "depth": 3}),
        ({"model__head__depth": 3, "model__head": "b"}, {"use": "b", "depth": 3}),
        ({"model__head__inner__heads": 2}, {"use": "a", "depth": 1, "inner": {"use": "x", "heads": 2}}),
        ({"model__head": None}, None),
        ({"model__width": 2}, {"use": "a", "depth": 1, "inner": "x"}),
    ],
)
def test_a_name_replaces_and_a_mapping_without_use_merges(above: dict[str, Any], head: object) -> None:
    below = layer("below", model__head={"use": "a", "depth": 1, "inner": "x"})
    merged = merge(below, layer("above", **above))
    assert merged.values["model"]["head"] == head
    assert below.values == {"model": {"head": {"use": "a", "depth": 1, "inner": "x"}}}


def test_a_bare_name_below_takes_fields_from_above() -> None:
    merged = merge(layer("below", model__head="a"), layer("above", model__head__depth=2))
    assert merged.values == {"model": {"head": {"use": "a", "depth": 2}}}
    assert merged.origin("model.head.use") == "below"
    assert merged.origin("model.head.depth") == "above"


def test_a_budget_replaces_the_one_below() -> None:
    below = layer("below", budget={"bytes": "4MB"})
    assert merge(below, layer("above", budget__steps=3)).values == {"budget": {"steps": 3}}
    assert merge(below, layer("above", budget={"flops": "a"})).values == {"budget": {"flops": "a"}}


def test_origins_of_what_was_replaced_are_forgotten() -> None:
    merged = merge(layer("below", model__head={"use": "a", "depth": 1}), layer("above", model__head="b"))
    assert merged.origins == {"model": "below", "model.head": "above"} or merged.origins == {"model.head": "above"}
    assert merged.origin("model.head.depth") == "above"


def test_layers_are_not_shared() -> None:
    below = layer("below", a={"b": [1]})
    merged = merge(below, Tree())
    merged.values["a"]["b"].append(2)
    assert below.values == {"a": {"b": [1]}}


def test_below_and_pick() -> None:
    tree = layer("f", variants={"x": {"model.head": "b"}}, model={"width": 3}, seeds=[1])
    assert tree.below("variants.x").values == {"model": {"head": "b"}}
    assert tree.below("variants.x").origin("model.head") == "f"
    assert tree.pick(["model"]).values == {"model": {"width": 3}}
    assert set(tree.pick(["model"]).origins) == {"model", "model.width"}
