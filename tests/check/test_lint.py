"""LINT: false declarations, each refused in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lllm.check.lint import lint
from lllm.check.model import check_composition
from lllm.check.subject import Subject
from lllm.model import Build, Context, State
from lllm.model.contracts import Conditional, Hidden, Likelihood
from lllm.registry import Part, PartConfig, Registry, register
from tests.check import ends, heads, layers
from tests.check.compositions import toy, toys
from tests.check.ends import PrefixVisibility
from tests.check.heads import VarHead
from tests.check.layers import NoisyFFN


def broken(base: type[Any], **members: Any) -> type[Part]:
    """`base` with some members replaced, registered as 'broken'."""
    made = type("Broken", (base,), {"__doc__": "Broken.", "__module__": __name__, **members})
    return register(base.kind, "broken")(made)


def table(head: VarHead) -> list[Conditional]:
    return [(k, frozenset(range(k))) for k in range(head.ratio)]


def changed(**what: Any) -> Any:
    """A `likelihoods` whose only entry is changed."""

    def likelihoods(self: VarHead, x: Hidden) -> Mapping[str, Likelihood]:
        (made,) = VarHead.likelihoods(self, x).values()
        return {
            "scales": replace(made, **{key: value(made) if callable(value) else value for key, value in what.items()})
        }

    return likelihoods


def finite(
    self: VarHead, x: Hidden, which: Sequence[Conditional], state: State | None = None
) -> Mapping[Conditional, Tensor]:
    return {item: logits.nan_to_num() for item, logits in VarHead.conditionals(self, x, which, state).items()}


CASES: dict[str, tuple[type[Part], str]] = {
    "itself": (broken(VarHead, table=lambda self: [(0, frozenset({0}))]), "lists slot 0 given itself"),
    "twice": (broken(VarHead, table=lambda self: 2 * table(self)), "twice"),
    "outside": (broken(VarHead, table=lambda self: [(9, frozenset())]), "lists slot 9"),
    "missing": (broken(VarHead, table=lambda self: table(self)[:-1]), "has no conditional of slot 3"),
    "plan": (broken(VarHead, plan=lambda self, known: range(self.ratio)), "expected each of slots 1..3 once"),
    "too much": (broken(VarHead, observed=lambda self, k, known: frozenset({3})), "when only [] are known"),
    "unlisted": (broken(VarHead, observed=lambda self, k, known: frozenset()), "which the table does not list"),
    "illegal": (broken(VarHead, conditionals=finite), "an illegal id has a finite logit"),
    "none primary": (broken(VarHead, likelihoods=changed(primary=False)), "exactly one primary likelihood"),
    "kind": (broken(VarHead, likelihoods=changed(kind="good")), "expected exact, bound or none"),
    "shape": (broken(VarHead, likelihoods=changed(nats=lambda made: made.slots)), "expected (3, 3)"),
    "sum": (broken(VarHead, likelihoods=changed(nats=lambda made: 2 * made.nats)), "do not add up"),
    "padding": (broken(VarHead, likelihoods=changed(slots=None, nats=lambda made: made.nats + 1)), "nothing is scored"),
    "region": (broken(PrefixVisibility, noncausal_region=False), "declares no noncausal_region"),
    "no loss": (
        broken(PrefixVisibility, loss=lambda self, chunk, prefix: chunk > prefix),
        "chunk 0 carries no loss",
    ),
    "prefix": (
        broken(PrefixVisibility, prefix_chunks=lambda self, lengths, ratio: lengths // ratio + 1),
        "counts chunks that the prompt does not complete",
    ),
    "blind": (
        broken(PrefixVisibility, allow=lambda self, query, key, prefix: (key < query) & (prefix >= 0)),
        "must let every position see itself",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_false_declarations_are_named(registry: Registry, case: str) -> None:
    cls, message = CASES[case]
    known = registry.with_parts(*toys(layers, ends, heads), cls)
    if case == "region":  # nothing else tells a causal visibility that sees ahead: its prefix is never tried
        known = registry.with_parts(broken(PrefixVisibility, noncausal_region=False, allow=_ahead))
    assert message in str(lint(Subject(known, toy(known, **{cls.kind: "broken"}), 0)))


def _ahead(self: PrefixVisibility, query: Tensor, key: Tensor, prefix: Tensor) -> Tensor:
    return (key <= query + 1) & (prefix >= 0)


class Buffered(NoisyFFN):
    """Keeps a constant in a buffer, which the meta device loses."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.register_buffer("constant", torch.ones(build.width))


class Roleless(NoisyFFN):
    """Makes a parameter without a role."""

    def __init__(self, config: PartConfig, build: Build) -> None:
        super().__init__(config, build)
        self.scale = torch.nn.Parameter(torch.ones(build.width))


class Crashing(NoisyFFN):
    """Fails in the forward pass only."""

    def forward(self, x_BND: Tensor, ctx: Context, state: State | None = None) -> tuple[Tensor, None]:
        raise LookupError("nothing there")


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (Buffered, "layers.0.ffn.constant: neither calibrate_ nor fill_buffers_ fills this buffer"),
        (Roleless, "has no role; create it with lllm.model.parameter"),
        (Crashing, "LookupError: nothing there"),
    ],
)
def test_what_is_built_wrongly_is_named(registry: Registry, base: type[Any], message: str) -> None:
    known = registry.with_parts(broken(base))
    found = check_composition(known, toy(known, ffn="broken"), seeds=[0])
    assert any(failure.test == "LINT" and message in failure.message for failure in found), found
