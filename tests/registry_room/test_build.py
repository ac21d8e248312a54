"""How a part builds another one by name, and where configs name parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from lllm.errors import BuildError, UserError
from lllm.registry import Build, Names, Node, Part, PartConfig, Registry, load_registry, register
from lllm.registry.build import blaming
from lllm.registry.config import named_nodes

Leaf = Annotated[Node, Names("leaf")]


class LeafKind(Part):
    """A kind of the training section."""

    kind = "leaf"
    section = "train"


@register("leaf", "plain")
class Plain(LeafKind):
    """Has no parts."""

    class Config(PartConfig):
        """size: an option."""

        size: int = 3


@register("leaf", "broken")
class Broken(LeafKind):
    """Cannot be built."""

    class Config(PartConfig):
        """user: whose mistake it is."""

        user: bool = False

    def __init__(self, config: Any, build: Build) -> None:
        raise UserError("not so") if config.user else ValueError("no")


class Inner(PartConfig):
    leaf: Leaf = "plain"
    share: float = 1.0


@register("leaf", "tree")
class Tree(LeafKind):
    """Names parts in every way there is."""

    class Config(PartConfig):
        """one .. inner: leaves. sizes: none."""

        one: Leaf | None = None
        several: list[Leaf] | None = None
        marked: Annotated[list[Node], Names("leaf")] | None = None
        by_name: dict[str, Leaf] | None = None
        inner: list[Inner] | None = None
        sizes: list[int] = Field(default=[1, 2])


@pytest.fixture
def known() -> Registry:
    return Registry().with_parts(Plain, Broken, Tree)


WAYS: dict[str, Any] = {
    "one": {"use": "plain", "size": 3},
    "several": ["broken", {"use": "plain", "size": 4}],
    "marked": [{"use": "plain", "size": 3}],
    "by_name": {"left": {"use": "tree", "one": {"use": "plain", "size": 5}}},
    "inner": [{"leaf": {"use": "plain", "size": 6}}, {"share": 2.0}],
}


def test_parts_are_found_however_deep_they_are_named(known: Registry) -> None:
    spec = known.config("leaf", {"use": "tree", **WAYS}, "train.leaf")
    assert [(kind, node if isinstance(node, str) else node["use"]) for kind, node in named_nodes(spec.config)] == [
        ("leaf", name) for name in ("plain", "broken", "plain", "plain", "tree", "plain", "plain")
    ]
    sizes = [s.config.model_dump().get("size") for s in known.named(spec) if s.name == "plain"]
    assert sizes == [3, 4, 3, 5, 6, 3]
    assert next(known.named(spec)) is spec


def test_parts_are_written_the_shortest_way_however_deep(known: Registry) -> None:
    delta = known.config("leaf", {"use": "tree", **WAYS}, "train.leaf").delta()
    assert (delta["one"], delta["marked"]) == ("plain", ["plain"])
    assert delta["inner"][0]["leaf"] == {"use": "plain", "size": 6}
    assert "sizes" not in delta


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("one", "plan", "one"),
        ("several", ["plain", "plan"], "several.1"),
        ("marked", ["plan"], "marked.0"),
        ("by_name", {"left": "plan"}, "by_name.left"),
        ("by_name", {"left": {"use": "tree", "one": "plan"}}, "by_name.left.one"),
        ("inner", [{}, {"leaf": "plan"}], "inner.1.leaf"),
    ],
)
def test_a_typo_is_told_where_it_stands(known: Registry, field: str, value: Any, place: str) -> None:
    with pytest.raises(UserError, match=rf"^train\.leaf\.{place}: unknown leaf 'plan'; did you mean 'plain'"):
        known.config("leaf", {"use": "tree", field: value}, "train.leaf")


def test_the_settings_own_part_is_one_and_a_named_one_is_new(known: Registry) -> None:
    build = Build(known, {"leaf": known.config("leaf", {"use": "plain", "size": 4}, "train.leaf")})
    assert build.part("leaf") is build.part("leaf")
    assert build.part("leaf").config.size == 4
    assert build.part("leaf", "plain") is not build.part("leaf", "plain")
    assert set(build.used) == {("leaf", "plain")}
    with pytest.raises(UserError, match=r"^train\.leaf: this composition needs a leaf and names none$"):
        Build(known, {}).part("leaf")


def test_a_part_that_raises_is_named_and_a_user_is_not_blamed(known: Registry) -> None:
    build = Build(known, {})
    with pytest.raises(BuildError, match=r"^leaf 'broken' \(.*test_build\.py:\d+\): ValueError: no$"):
        build.part("leaf", "broken")
    with pytest.raises(UserError, match=r"^not so$"):
        build.part("leaf", {"use": "broken", "user": True})


def test_a_part_of_a_platforms_kind_stands_where_the_kind_does() -> None:
    class Elsewhere(Part):
        """No objective's contract."""

        kind = "objective"

    with pytest.raises(TypeError, match=r"Elsewhere.section is 'model'; expected 'train'"):
        register("objective", "elsewhere")(Elsewhere)


WORKS = '''
from lllm.registry import Part, register

class Work(Part):
    kind = "work"

    def twice(self):
        return 2 * self.once()

def helper():
    raise RuntimeError("boom\\nand more")

@register("work", "first")
class First(Work):
    """Comes first in the file."""

@register("work", "second")
class Second(Work):
    """Raises in its file, without a method of its own in between."""
    def once(self):
        return helper()

@register("work", "third")
class Third(Work):
    """Raises outside of its file."""
    def once(self):
        return "2"
    def twice(self):
        return [].index(super().twice())

@register("work", "fourth")
class Fourth(Work):
    """Cannot be called so."""
    def __init__(self):
        pass
'''


@pytest.fixture
def works(tmp_path: Path) -> Build:
    (tmp_path / "works.py").write_text(WORKS)
    return Build(load_registry([tmp_path / "works.py"], cwd=tmp_path), {})


def line(text: str) -> int:
    return WORKS.splitlines().index(text) + 1


def test_a_part_that_raises_at_work_is_named(works: Build, tmp_path: Path) -> None:
    for name, place, what in (
        ("second", line('    raise RuntimeError("boom\\nand more")'), "RuntimeError: boom"),
        ("third", line("        return [].index(super().twice())"), "ValueError: '22' is not in list"),
        ("first", line("        return 2 * self.once()"), "AttributeError: 'First' object has no attribute 'once'"),
    ):
        part = works.part("work", name)
        with pytest.raises(UserError) as caught, blaming(works.registry):
            part.twice()
        assert str(caught.value) == f"work '{name}' ({tmp_path / 'works.py'}:{place}): {what}"


def test_a_part_that_is_not_even_entered_is_named_where_its_class_begins(works: Build, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        works.part("work", "fourth")
    begins = line('@register("work", "fourth")')
    assert str(caught.value).startswith(f"work 'fourth' ({tmp_path / 'works.py'}:{begins}): TypeError: Fourth.__init__")


def test_where_no_part_is_at_work_none_is_named(works: Build) -> None:
    said = r"^ZeroDivisionError: division by zero \(.*test_build\.py:\d+\)$"
    with pytest.raises(UserError, match=said), blaming(works.registry):
        1 / 0  # noqa: B018
    for error in (UserError("a"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, blaming(works.registry):
            raise error
        assert caught.value is error
    with pytest.raises(UserError, match=r"^work 'fourth' \("), blaming(works.registry):
        works.part("work", "fourth")
