"""Which compositions are chosen to check a part."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from torch import Tensor

from lllm.check.compositions import cover, everything, fits, minimal, options
from lllm.check.model import describe
from lllm.check.suite import Checker
from lllm.model import Build, Context, State
from lllm.model.contracts import FFN, Cost
from lllm.model.layers import Linear
from lllm.model.simplest import example
from lllm.registry import PartConfig, Registry, Search, register
from tests.check import ends, heads, layers
from tests.check.compositions import toys


@register("ffn", "optional")
class Optional(FFN):
    """A part with an option of every sort."""

    class Config(PartConfig):
        """Options."""

        flag: bool = False
        word: Literal["a", "b", "c"] = "a"
        hidden: int | None = None
        share: Annotated[float, Search(0.25, 1.0)] = 0.5
        needed: int

    @classmethod
    def examples(cls) -> tuple[dict[str, Any], ...]:
        return {"needed": 1}, {"needed": 2, "flag": True}

    def __init__(self, config: Config, build: Build) -> None:
        super().__init__(config, build)
        self.map = Linear(build.width, build.width)

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        return self.map(x_BND).tanh(), None

    def cost(self, n: int) -> Cost:
        """One matrix."""
        return Cost.dense(self.map.flops(n))


def test_each_option_is_turned_once(registry: Registry) -> None:
    known = registry.with_parts(Optional)
    found = options(known, known.get("ffn", "optional"), [4, 2])
    deltas = [choice.parts["ffn"].delta() for choice in found]
    base = {"use": "optional", "needed": 1}
    assert deltas == [
        {**base, "needed": 2, "flag": True},
        {**base, "flag": True},
        {**base, "word": "b"},
        {**base, "word": "c"},
        {**base, "hidden": 2},
        {**base, "share": 0.25},
        {**base, "share": 1.0},
    ]
    assert [choice.ratio for choice in found] == [4, 2, 4, 2, 4, 2, 4]


def test_a_part_stands_among_the_simplest_that_use_it(registry: Registry) -> None:
    known = registry.with_parts(*toys(layers, ends, heads))
    reader = minimal(known, example(known, known.get("mixer", "toy_reader")))
    assert {choice.parts["trunk"].name for choice in reader.values()} == {"toy_lender"}
    flat = minimal(known, example(known, known.get("downsampler", "identity")))
    assert list(flat) == [1]
    tokens = minimal(known, example(known, known.get("downsampler", "toy_dynamic")))
    assert {choice.parts["head"].name for choice in tokens.values()} == {"toy_token"}


def test_the_covering_set_is_legal_and_far_smaller_than_the_product(registry: Registry) -> None:
    known = registry.with_parts(*toys(ends, heads))
    chosen = cover(known)
    assert all(fits(known, choice) for choice in chosen)
    assert len({describe(choice) for choice in chosen}) == len(chosen) < 150
    assert {choice.ratio for choice in chosen} == set(range(1, 9))
    used = {(spec.kind, spec.name) for choice in chosen for spec in choice.parts.values()}
    missing = {(kind, name) for kind, name in known.entries if any(kind == k for k, _ in used)} - used
    assert missing == {("head", "toy_token_stateful")}  # the mixer inside it is among the layers, not loaded here
    assert len(list(everything(registry))) > len(cover(registry))


@register("ffn", "needy")
class Needy(Optional):
    """Needs an option and offers no example."""

    @classmethod
    def examples(cls) -> tuple[dict[str, Any], ...]:
        return ({},)


@register("ffn", "rude")
class Rude(Optional):
    """Raises what no contract knows."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        raise ZeroDivisionError("by design")


@register("mixer", "lonely")
class Lonely(layers.DecayMixer):
    """Reads what no trunk lends."""

    reads = ("nothing",)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Needy, "ffn/needy.needed: missing; it has no default; a part that needs options gives them"),
        (Rude, "ZeroDivisionError: by design"),
        (Lonely, "no composition at any ratio takes this part"),
    ],
)
def test_parts_that_cannot_be_checked_say_why(registry: Registry, cls: Any, message: str) -> None:
    known = registry.with_parts(cls)
    (entry,) = known.find(cls.__part__.name)
    assert any(message in failure.message for failure in Checker(known).part(entry).failures)
